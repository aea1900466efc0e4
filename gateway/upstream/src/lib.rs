//! Sign-in through upstream providers: OpenID Connect issuers, GitHub, and plain OAuth 2.0 servers.
//!
//! A sign-in has two steps. [`Provider::begin`] returns the URL to send the browser to and a [`Flow`] to keep until it
//! comes back. [`Provider::finish`] takes the flow and the [`Callback`], and returns the user whom the provider
//! confirmed.
//!
//! | module | contents |
//! |---|---|
//! | `provider` | [`Provider`]: one provider, whichever protocol it speaks |
//! | `config` | [`ProviderConfig`]: the settings of a provider |
//! | `flow`, `authorize` | the state of a sign-in, and the authorization request |
//! | `client`, `exchange` | client authentication, and the exchange of a code for tokens |
//! | `oidc`, `jws` | OpenID Connect: discovery, ID tokens, userinfo, PAR, logout; signatures and key sets |
//! | `github` | GitHub's OAuth and REST API |
//! | `oauth`, `mapping` | plain OAuth 2.0, and the places of members in a userinfo answer |
//! | `claims` | the user's profile from claims, and the rules for email addresses |
//! | `logout` | RP-initiated sign-out and back-channel logout tokens |
//! | [`check`] | the diagnosis behind `gateway provider check` |
//! | [`http`], `names`, `proxy`, `trust` | bounded HTTP requests, address checks, the egress proxy, trusted certificates |
//! | `json`, [`text`] | bounded and strict JSON, printable text |
//! | `error` | [`UpstreamError`]: every way in which a sign-in through a provider can fail |

#[macro_use]
mod opaque;
mod authorize;
pub mod check;
mod claims;
mod client;
mod config;
mod error;
mod exchange;
mod flow;
mod github;
pub mod http;
mod json;
mod jws;
mod logout;
mod mapping;
mod names;
mod oauth;
mod oidc;
mod provider;
mod proxy;
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
pub use mapping::{Mapping, Member, NotAPlace};
pub use names::{Names, SystemNames};
pub use provider::{MAX_WAITING, Provider};
pub use proxy::EgressProxy;
