//! An auth gateway. Users sign in through an upstream provider; applications ask who a token belongs to and what that user
//! may do. WebAssembly components decide both, and can be replaced while the gateway serves.
//!
//! A request passes through [`server`] (limits, deadline) → [`router`] → `handlers/<endpoint>` → `session` (the
//! owner of the token) → the store or a plugin → [`response`] → one line in the log.
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`config`], `keys` | the configuration; key files |
//! | [`prepare`] | checks for `serve` and `config check` that need more than the configuration itself |
//! | [`serve`], [`build`] | a serving gateway, from start to shutdown; how an [`app`] is made from a configuration |
//! | [`listen`], [`signals`] | sockets; signals and reloads |
//! | [`control`] | the socket in the data directory through which commands reach a running gateway |
//! | [`app`] | the state that all requests share |
//! | [`server`] | connections and their limits |
//! | [`router`], `route`, `request`, [`response`] | routing; reading requests; making responses |
//! | `handlers` | the endpoints, one file each |
//! | `session` | the session that a request belongs to |
//! | [`sign_in`], `events` | from a user's claims to a session, through the hooks; delivery of pending events |
//! | `sign_out` | signing out at the provider |
//! | [`origins`], [`return_url`], `cors`, `jsonp` | applications' origins, and what they permit |
//! | [`cookie`], [`sealed_state`], `navigation` | binding a sign-in to its browser; Fetch Metadata |
//! | `client_address`, `rate_limit` | the client's address; rate limits |
//! | `token_cache` | signed permission tokens that can be reused |
//! | `small_file` | reading files that an operator names, without blocking |
//! | `plugin_data` | plugins' access to the database |
//! | `pages` | HTML |
//! | [`admin`], [`metrics`], [`telemetry`] | the admin listener, metrics, the log |
//! | `time` | formatting times |
//! | [`watch`] | notices that the database was moved, removed or replaced |

pub mod admin;
pub mod app;
pub mod build;
pub mod cli;
pub(crate) mod client_address;
pub mod config;
pub mod control;
pub mod cookie;
pub(crate) mod cors;
pub(crate) mod events;
pub(crate) mod handlers;
pub(crate) mod jsonp;
pub(crate) mod keys;
pub mod listen;
pub mod metrics;
pub(crate) mod navigation;
pub mod origins;
pub(crate) mod pages;
pub(crate) mod plugin_data;
pub mod prepare;
pub(crate) mod rate_limit;
pub(crate) mod request;
pub(crate) mod request_id;
pub mod response;
pub mod return_url;
pub(crate) mod route;
pub mod router;
pub mod sealed_state;
pub mod serve;
pub mod server;
pub(crate) mod session;
pub mod sign_in;
pub(crate) mod sign_out;
pub mod signals;
pub(crate) mod small_file;
pub mod telemetry;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod time;
pub(crate) mod token_cache;
pub mod watch;
