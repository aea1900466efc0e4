//! The parts that the end-to-end tests share: the real binary, a browser, fake providers.
//!
//! | module | content |
//! |---|---|
//! | [`setup`] | a directory with keys, plugins and a configuration, from which a gateway starts |
//! | [`gateway`] | a running gateway process: its address, log, signals and end |
//! | [`log`] | the lines that the process wrote to stderr |
//! | [`browser`] | an HTTP client with a visible cookie jar, which does not follow redirects |
//! | [`admin`] | a client of the admin listener, and a reader of Prometheus text |
//! | [`cli`] | runs the command line beside a running gateway |
//! | [`fake_github`] | GitHub according to its documentation |
//! | [`fake_oidc`] | an OpenID provider that signs real tokens and can misbehave |
//! | [`openid_provider`] | a certified OpenID provider in its own process |
//! | [`raw`] | bytes over a socket, as no HTTP client would send them |
//! | [`wait`] | waits for a condition, with a time limit |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub mod admin;
pub mod browser;
pub mod cli;
pub mod fake_github;
pub mod fake_oidc;
pub mod gateway;
pub mod log;
pub mod openid_provider;
pub mod raw;
pub mod setup;
pub mod wait;

pub use self::{gateway::Gateway, setup::Setup, wait::eventually};

/// The binary under test. Cargo builds it beside the directory that has the suites.
pub fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let suite = std::env::current_exe().unwrap();
        let directory = suite.parent().and_then(Path::parent).unwrap();
        directory.join("gateway-under-test")
    });
    &BINARY
}
