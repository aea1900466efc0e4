//! Upstream providers: Google, GitHub, any OpenID Connect issuer. Takes a person there and back, and
//! believes nothing on the way that was not checked.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | what the operator says of a provider |
//! | [`provider`] | [`Provider`]: one provider, whichever protocol it speaks |
//! | [`oidc`] | OpenID Connect: discovery, the authorization code flow, ID tokens |
//! | [`github`] | GitHub's OAuth and API |
//! | [`claims`] | what is taken from claims, and what is not believed |
//! | [`http`] | requests with a limit on everything that an upstream could make us read or wait for |
//! | [`logout`] | sign-outs: at the provider, and those that it tells of |
//! | [`names`] | which addresses a provider may be at, and who looks them up |
//! | `exchange` | the exchange of a code for tokens |
//! | `json` | reads JSON: bounded, and strict about the members that count |
//! | `jws` | signatures of JSON Web Tokens |
//! | [`error`] | every way a sign-in through a provider can fail |
//!
//! A sign-in: [`Provider::begin`] → the browser goes to [`Authorization::url`] and comes back →
//! [`Provider::finish`] with what was remembered ([`Flow`]) and what the callback brought ([`Callback`]).

pub mod claims;
pub mod config;
pub mod error;
mod exchange;
pub mod github;
pub mod http;
mod json;
mod jws;
pub mod logout;
pub mod names;
pub mod oidc;
pub mod provider;

pub use config::{HttpLimits, ProviderConfig, ProviderKind, SignOut, Userinfo};
pub use error::{ErrorKind, Refusal, UpstreamError};
pub use logout::{EndSession, LogoutError, LogoutToken};
pub use names::{Names, SystemNames};
pub use provider::{Authorization, Callback, Flow, MAX_WAITING, Provider};
