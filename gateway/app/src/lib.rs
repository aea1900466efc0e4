//! An auth gateway: people sign in through an upstream provider, applications ask who they are and
//! what they may do, and both answers are shaped by WebAssembly components that are swapped while it
//! serves.
//!
//! The way of a request: socket → [`server`] (limits, deadline) → [`router`] (which endpoint) →
//! [`handlers`] (one endpoint a file) → [`session`] (whose token is it) → the store or a plugin →
//! [`response`] → one line in the log.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`config`], [`keys`] | what is configured, and key files |
//! | [`prepare`] | whether a configuration can be served, for `serve` and for `config check` |
//! | [`serve`] | a serving gateway, from its start to its shutdown |
//! | [`build`] | from a configuration to [`app`] |
//! | [`listen`], [`signals`] | the sockets; signals and reloads |
//! | [`control`] | how commands reach a gateway that runs: a socket in the data directory |
//! | [`app`] | what all requests share |
//! | [`server`] | connections and their limits |
//! | [`router`], [`request`], [`response`] | which endpoint answers; reading requests; making answers |
//! | [`route`] | what an endpoint is |
//! | [`handlers`] | the endpoints |
//! | [`session`] | whose request it is |
//! | [`sign_out`], [`logout_notifier`] | signing out at the provider too; waking the delivery of sign-outs |
//! | [`sign_in`], [`events`] | from a person to a session, by way of the hooks; events nobody waits for |
//! | [`origins`], [`next`], [`cors`], [`jsonp`] | applications' origins, where people may be sent, pages that call |
//! | [`cookie`], [`sealed_state`], [`navigation`] | what binds a sign-in to its browser, and whether a person began it |
//! | [`client_address`], [`rate_limit`] | who asks, by address; how often one may |
//! | [`issued`] | permission tokens that are given again |
//! | [`small_file`] | reading files that an operator names, without waiting for good |
//! | [`plugin_data`] | what plugins reach of the database |
//! | [`pages`] | HTML |
//! | [`admin`], [`metrics`], [`telemetry`] | the admin listener, figures, the log |
//! | [`time`] | moments as people read them |
//! | [`watch`] | notices that the database was moved, removed or replaced |

pub mod admin;
pub mod app;
pub mod build;
pub mod cli;
pub mod client_address;
pub mod config;
pub mod control;
pub mod cookie;
pub mod cors;
pub mod events;
pub mod handlers;
pub mod issued;
pub mod jsonp;
pub mod keys;
pub mod listen;
pub mod logout_notifier;
pub mod metrics;
pub mod navigation;
pub mod next;
pub mod origins;
pub mod pages;
pub mod plugin_data;
pub mod prepare;
pub mod rate_limit;
pub mod request;
pub mod request_id;
pub mod response;
pub mod route;
pub mod router;
pub mod sealed_state;
pub mod serve;
pub mod server;
pub mod session;
pub mod sign_in;
pub mod sign_out;
pub mod signals;
pub mod small_file;
pub mod telemetry;
pub mod time;
pub mod watch;
