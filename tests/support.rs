//! What the end-to-end tests share: the real binary, a browser, fake providers.
//!
//! | module | what it does |
//! |---|---|
//! | [`setup`] | a directory with keys, plugins and a configuration, from which a gateway starts |
//! | [`gateway`] | a running gateway process: its address, its log, its signals, its end |
//! | [`log`] | the lines that the process wrote to stderr |
//! | [`browser`] | an HTTP client with a cookie jar that can be looked into, and no redirects |
//! | [`admin`] | the admin listener, and reading Prometheus text |
//! | [`cli`] | runs the command line beside a running gateway |
//! | [`fake_github`] | GitHub, as its documentation has it |
//! | [`fake_oidc`] | an OpenID provider that signs real tokens and can be told to misbehave |
//! | [`openid_provider`] | a certified OpenID provider in a process of its own |
//! | [`raw`] | bytes over a socket, for what no HTTP client would send |
//! | [`wait`] | waiting for something to become true, with an end |

#![allow(dead_code, reason = "each test file takes the part that it needs")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

pub(crate) mod admin;
pub(crate) mod browser;
pub(crate) mod cli;
pub(crate) mod fake_github;
pub(crate) mod fake_oidc;
pub(crate) mod gateway;
pub(crate) mod log;
pub(crate) mod openid_provider;
pub(crate) mod raw;
pub(crate) mod setup;
pub(crate) mod wait;

#[allow(unused_imports, reason = "each test file takes the part that it needs")]
pub(crate) use self::{gateway::Gateway, setup::Setup, wait::eventually};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_gateway");
