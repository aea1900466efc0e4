//! Upstream providers: Google, GitHub, any OpenID Connect issuer. Takes a person there and back, and
//! believes nothing on the way that was not checked.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | what the operator says of a provider |
//! | [`provider`] | [`Provider`]: one provider, whichever protocol it speaks |
//! | [`flow`] | what goes to a provider and comes back |
//! | [`authorize`] | the request that a browser brings to a provider |
//! | [`client`] | how the gateway proves which client it is |
//! | [`oidc`] | OpenID Connect: discovery, the authorization code flow, ID tokens |
//! | [`github`] | GitHub's OAuth and API |
//! | [`oauth`], [`mapping`] | OAuth 2.0 and nothing more, and where in its answers everything is |
//! | [`check`] | what would go wrong in a sign-in, before there is one |
//! | [`claims`] | what is taken from claims, and what is not believed |
//! | [`http`] | requests with a limit on everything that an upstream could make us read or wait for |
//! | [`logout`] | sign-outs: at the provider, and those that it tells of |
//! | [`proxy`] | the egress proxy by which providers are reached |
//! | [`names`] | which addresses a provider may be at, and who looks them up |
//! | `exchange` | the exchange of a code for tokens |
//! | `json` | reads JSON: bounded, and strict about the members that count |
//! | `jws` | signatures of JSON Web Tokens |
//! | [`text`] | text for people |
//! | `trust` | the authorities that sign the certificates of providers |
//! | [`error`] | every way a sign-in through a provider can fail |
//!
//! A sign-in: [`Provider::begin`] → the browser goes to [`Authorization::url`] and comes back →
//! [`Provider::finish`] with what was remembered ([`Flow`]) and what the callback brought ([`Callback`]).

pub mod authorize;
pub mod check;
pub mod claims;
pub mod client;
pub mod config;
pub mod error;
mod exchange;
pub mod flow;
pub mod github;
pub mod http;
mod json;
mod jws;
pub mod logout;
pub mod mapping;
pub mod names;
pub mod oauth;
pub mod oidc;
pub mod provider;
pub mod proxy;
pub mod text;
mod trust;

pub use authorize::{PROMPTS, RESERVED_PARAMETERS};
pub use client::{Audience, ClientAuth, ClientKey, SecretMethod};
pub use config::{
    Icon, NonceRule, OAuth2, Par, ProviderConfig, ProviderKind, ResponseMode, SignOut, TENANT, Userinfo,
};
pub use error::{ErrorKind, Refusal, UpstreamError};
pub use flow::{Authorization, Callback, Flow, Hints};
pub use http::HttpLimits;
pub use logout::{EndSession, KEYS_ASKED_AGAIN, LogoutError, LogoutToken};
pub use mapping::{Mapping, Member};
pub use names::{Names, SystemNames};
pub use provider::{MAX_WAITING, Provider};
pub use proxy::EgressProxy;
