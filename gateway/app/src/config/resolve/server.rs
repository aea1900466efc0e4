//! Listeners, storage, tokens, upstream, origins: sections that only need to be checked against each other.

use std::net::SocketAddr;

use gateway_model::UserLimits;
use gateway_store::DatabaseUrl;
use gateway_upstream::{EgressProxy, HttpLimits};
use url::Url;

use crate::config::field::{Context, List, Text};
use crate::config::layers::{Layers, Place};
use crate::config::settings::{Database, Directories, RateLimits, Server, Tokens, Upstream, Users};
use crate::config::sources::Origin;
use crate::config::value::{External, PageUrl, Value as _, WebOrigin, is_exposed};
use crate::config::{AdminConfig, StorageConfig};
use crate::origins::Origins;
use crate::rate_limit::RateLimitConfig;

/// `[server]`, and the gateway's own address.
pub(super) fn server(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> (Server, Url) {
    let server = Server::read(layers, &file.section("server"), cx);
    let external = external(layers, &server);
    (server, external)
}

/// `server.trusted_proxies` and `[rate_limits]`.
pub(super) fn rate_limits(
    layers: &mut Layers<'_>,
    file: &Place<'_>,
    server: &Server,
    external: &Url,
    cx: &Context<'_>,
) -> RateLimitConfig {
    const KEY: &str = "server.trusted_proxies";
    let RateLimits { sign_in, update } = RateLimits::read(layers, &file.section("rate_limits"), cx);
    let limits = RateLimitConfig {
        trusted_proxies: server.trusted_proxies.clone(),
        sign_in,
        update,
    };
    let has_limits = limits.sign_in.is_some() || limits.update.is_some();
    // https means that a proxy terminates TLS.
    if has_limits && limits.trusted_proxies.is_empty() && external.scheme() == "https" {
        layers.warn_at(None, KEY, format!(
            "{KEY} is not set: the gateway cannot distinguish the clients of the proxy in front of it. Their requests are not \
             rate-limited or, if the proxy's address is public, share one limit"
        ));
    }
    limits
}

fn external(layers: &mut Layers<'_>, server: &Server) -> Url {
    const KEY: &str = "server.external_address";
    if let Some(url) = &server.external_address {
        if is_exposed(url) {
            layers.warn_of(KEY, format!(
                "{KEY} is plain http and not on this machine: anybody on the network can read session tokens. Put a proxy with \
                 TLS in front of the gateway"
            ));
        }
        return url.clone();
    }
    let is_mistaken = layers.is_mistaken(KEY);
    if let Some(url) = loopback_url(server.listen) {
        if !is_mistaken {
            layers.show(KEY, External(url.clone()).show(), Origin::Default);
        }
        return url;
    }
    if !is_mistaken {
        let message =
            "is missing: set it, or EXTERNAL_ADDRESS, to the address at which browsers reach the gateway";
        layers.mistake(None, KEY, message);
    }
    fallback_url()
}

/// The URL of a listener on loopback.
fn loopback_url(listen: SocketAddr) -> Option<Url> {
    (listen.ip().is_loopback() && listen.port() != 0)
        .then(|| Url::parse(&format!("http://{listen}/")).ok())?
}

/// A placeholder for a wrong address, so that the rest can be checked.
#[expect(clippy::expect_used, reason = "a constant")]
fn fallback_url() -> Url {
    Url::parse("https://localhost/").expect("a URL")
}

pub(super) fn admin(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> AdminConfig {
    let admin = AdminConfig::read(layers, &file.section("admin"), cx);
    let is_open = |listen: SocketAddr| !listen.ip().is_loopback();
    if admin.listen.is_some_and(is_open) {
        let warning = "admin.listen is not on loopback: only its token, sent over plain http, protects it";
        layers.warn_of("admin.listen", warning);
    }
    if admin.metrics_token_file.is_none() && admin.metrics_listen.is_some_and(is_open) {
        let warning = "admin.metrics_listen is not on loopback and requires no token: anybody who can reach it can read the \
                       metrics. Set admin.metrics_token_file, or let only Prometheus reach it";
        layers.warn_of("admin.metrics_listen", warning);
    }
    if admin.metrics_token_file.as_ref() == Some(&admin.token_file) {
        let message = "must be another file than admin.token_file, whose token can do everything";
        layers.reject("admin.metrics_token_file", message);
    }
    admin
}

/// Rejects listeners with the same address. This error is clearer than that of binding the second one.
pub(super) fn check_listeners(layers: &mut Layers<'_>, public: SocketAddr, admin: &AdminConfig) {
    let mut before = vec![("server.listen", public)];
    for (key, address) in [
        ("admin.listen", admin.listen),
        ("admin.metrics_listen", admin.metrics_listen),
    ] {
        let Some(address) = address else { continue };
        if let Some((other, taken)) = before.iter().find(|(_, other)| collide(*other, address)) {
            let origin = layers.origin(key).or_else(|| layers.origin(other));
            let message = format!(
                "{address} is already used by {other} ({taken}): choose another port for one of them"
            );
            layers.mistake(origin, key, message);
        }
        before.push((key, address));
    }
}

/// Whether the gateway cannot listen on both addresses. Port 0 is any free port; the unspecified IPv6 address includes the
/// IPv4 one.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let takes =
        |one: SocketAddr, other: SocketAddr| one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    one.port() != 0
        && one.port() == other.port()
        && (one.ip().to_canonical() == other.ip().to_canonical() || takes(one, other) || takes(other, one))
}

/// The directories, `[database]` and `[users]`.
pub(super) fn storage(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> StorageConfig {
    let Directories { plugin_dir, data_dir } = Directories::read(layers, file, cx);
    if let Err(error) = gateway_store::owned::directory(&data_dir) {
        layers.reject("data_dir", error.to_string());
    }
    let cx = &Context {
        data_dir: &data_dir,
        ..*cx
    };
    let database = Database::read(layers, &file.section("database"), cx);
    if database.url == DatabaseUrl::Temporary {
        let warning = "database.url is a temporary database: all users are deleted when the gateway stops";
        layers.warn_of("database.url", warning);
    }
    let users = Users::read(layers, &file.section("users"), cx);
    StorageConfig {
        plugin_dir,
        data_dir,
        database,
        user_limits: UserLimits {
            attributes: users.attributes,
            attribute_bytes: users.attribute_bytes,
            identities: users.identities,
            sessions: users.sessions,
        },
    }
}

pub(super) fn tokens(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> Tokens {
    let tokens = Tokens::read(layers, &file.section("tokens"), cx);
    if tokens.permission_reuse > tokens.permission_lifetime / 2 {
        let message = "must be at most half of tokens.permission_lifetime, so that a reused token is valid for that long";
        layers.reject("tokens.permission_reuse", message);
    }
    tokens
}

pub(super) fn upstream(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> HttpLimits {
    let upstream = Upstream::read(layers, &file.section("upstream"), cx);
    HttpLimits {
        timeout: upstream.timeout,
        max_body: upstream.max_body,
        proxy: proxy(layers, upstream.proxy, upstream.no_proxy),
    }
}

fn proxy(layers: &mut Layers<'_>, address: Option<Text>, without: Option<Text>) -> Option<EgressProxy> {
    const KEY: &str = "upstream.proxy";
    let Text(address, origin) = address?;
    let no_proxy = without.as_ref().map(|Text(list, _)| list.as_str());
    match EgressProxy::new(address.trim(), no_proxy) {
        Ok(proxy) => {
            // The address may contain a password.
            layers.show(KEY, proxy.to_string(), origin);
            if let Some(Text(list, origin)) = without {
                check_no_proxy(layers, &list, &origin);
                layers.show("upstream.no_proxy", list, origin);
            }
            Some(proxy)
        }
        Err(right) => {
            layers.mistake(Some(origin), KEY, format!("must be {right}"));
            None
        }
    }
}

/// Reports entries that are ignored, so that the proxy is used for them. In a variable they are only a warning, because other
/// programs share the variable and accept more.
fn check_no_proxy(layers: &mut Layers<'_>, list: &str, origin: &Origin) {
    const KEY: &str = "upstream.no_proxy";
    const RIGHT: &str = "a host is a name (example.org, which includes the names below it), an IP address, a range such as \
        10.0.0.0/8, or * for all, without a port or a scheme";
    let unknown = EgressProxy::unknown_hosts(list);
    if unknown.is_empty() {
        return;
    }
    let unknown = unknown.iter().map(|host| format!("{host:?}"));
    let unknown = unknown.collect::<Vec<_>>().join(", ");
    if let Origin::Variable(_) = origin {
        let message = format!("{unknown} is ignored, so the proxy is used for it: {RIGHT}");
        layers.warn_at(Some(origin.clone()), KEY, message);
    } else {
        layers.mistake(
            Some(origin.clone()),
            KEY,
            format!("{unknown} cannot be used: {RIGHT}"),
        );
    }
}

/// The origins of applications, and `default_next`.
pub(super) fn origins(
    layers: &mut Layers<'_>,
    origins: List<WebOrigin>,
    default_next: Option<(PageUrl, Origin)>,
    external: &Url,
) -> (Origins, Url) {
    for (WebOrigin(url), from) in origins.iter().filter(|(origin, _)| is_exposed(&origin.0)) {
        layers.warn_at(Some(from.clone()), "origins", format!(
            "the origin {} is plain http and not on this machine: anybody on the network can read session tokens",
            url.origin().ascii_serialization()
        ));
    }
    let mut allowed: Vec<url::Origin> = origins.into_iter().map(|(origin, _)| origin.0.origin()).collect();
    allowed.dedup();
    let mut allowed = Origins::from(allowed);
    if allowed.iter().next().is_none() && layers.sources.presets.loopback_origins {
        allowed = allowed.and_loopback();
    }

    let home = PageUrl(external.clone());
    let Some((PageUrl(next), from)) = default_next else {
        layers.show("default_next", home.show(), Origin::Default);
        return (allowed, home.0);
    };
    if next.origin() != external.origin() && !allowed.contains(&next.origin()) {
        let message = "must be on one of the origins, or on the gateway's own";
        layers.mistake(Some(from), "default_next", message);
    }
    (allowed, next)
}
