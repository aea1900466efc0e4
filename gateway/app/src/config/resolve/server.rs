//! Listeners, storage, tokens, upstream, origins: the sections that only need to be checked against each other.

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
    let are_there = limits.sign_in.is_some() || limits.update.is_some();
    // TLS is ended by a proxy.
    if are_there && limits.trusted_proxies.is_empty() && external.scheme() == "https" {
        layers.warn_at(None, KEY, format!(
            "{KEY} is not set: the gateway cannot tell the clients of the proxy in front of it apart, and limits how often \
             an address may ask for none of them, or for all of them together where the proxy's address is a public one"
        ));
    }
    limits
}

fn external(layers: &mut Layers<'_>, server: &Server) -> Url {
    const KEY: &str = "server.external_address";
    if let Some(url) = &server.external_address {
        if is_exposed(url) {
            layers.warn_at(layers.origin(KEY), KEY, format!(
                "{KEY} is plain http and not on this machine: everybody on the way can read session tokens; put a \
                 proxy with TLS in front"
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
            "is missing: set it, or EXTERNAL_ADDRESS, to the address that browsers reach the gateway at";
        layers.mistake(None, KEY, message);
    }
    fallback_url()
}

/// The URL of a listener on loopback.
fn loopback_url(listen: SocketAddr) -> Option<Url> {
    (listen.ip().is_loopback() && listen.port() != 0)
        .then(|| Url::parse(&format!("http://{listen}/")).ok())?
}

/// Stands in for an address that is a mistake, so that the rest can be checked.
#[expect(clippy::expect_used, reason = "a constant")]
fn fallback_url() -> Url {
    Url::parse("https://localhost/").expect("a URL")
}

pub(super) fn admin(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> AdminConfig {
    const LISTEN: &str = "admin.listen";
    const METRICS: &str = "admin.metrics_listen";
    const METRICS_TOKEN: &str = "admin.metrics_token_file";
    let admin = AdminConfig::read(layers, &file.section("admin"), cx);
    if admin.listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        let warning =
            "admin.listen is not on loopback: its token, in plain http, is all that keeps others out";
        layers.warn_at(layers.origin(LISTEN), LISTEN, warning.to_owned());
    }
    let is_open = |listen: SocketAddr| !listen.ip().is_loopback();
    if admin.metrics_token_file.is_none() && admin.metrics_listen.is_some_and(is_open) {
        let warning = "admin.metrics_listen is not on loopback and asks for no token: everybody who reaches it can read \
                       the metrics; set admin.metrics_token_file, or let only Prometheus reach it";
        layers.warn_at(layers.origin(METRICS), METRICS, warning.to_owned());
    }
    if admin.metrics_token_file.as_ref() == Some(&admin.token_file) {
        let message = "must be another file than admin.token_file, whose token can do everything";
        layers.mistake(layers.origin(METRICS_TOKEN), METRICS_TOKEN, message);
    }
    admin
}

/// No two listeners can have one address, and a mistake says so better than the second of them could.
pub(super) fn check_listeners(layers: &mut Layers<'_>, public: SocketAddr, admin: &AdminConfig) {
    const PUBLIC: &str = "server.listen";
    let listeners = [
        ("admin.listen", admin.listen),
        ("admin.metrics_listen", admin.metrics_listen),
    ];
    let mut before = vec![(PUBLIC, public)];
    for (key, address) in listeners {
        let Some(address) = address else { continue };
        if let Some((other, taken)) = before.iter().find(|(_, other)| collide(*other, address)) {
            let origin = layers.origin(key).or_else(|| layers.origin(other));
            let message =
                format!("is {address}, which {other}, {taken}, takes: choose another port for one of them");
            layers.mistake(origin, key, message);
        }
        before.push((key, address));
    }
}

/// Whether both addresses cannot be listened on at once. Port 0 is any that is free; an unspecified address of version 6
/// takes that of version 4 as well.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let takes =
        |one: SocketAddr, other: SocketAddr| one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    one.port() != 0
        && one.port() == other.port()
        && (one.ip().to_canonical() == other.ip().to_canonical() || takes(one, other) || takes(other, one))
}

/// Where things are kept, and how much of one user: the directories, `[database]` and `[users]`.
pub(super) fn storage(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> StorageConfig {
    let Directories { plugin_dir, data_dir } = Directories::read(layers, file, cx);
    if let Err(error) = gateway_store::owned::directory(&data_dir) {
        layers.mistake(layers.origin("data_dir"), "data_dir", error.to_string());
    }
    let cx = &Context {
        data_dir: &data_dir,
        ..*cx
    };
    let database = Database::read(layers, &file.section("database"), cx);
    if database.url == DatabaseUrl::Temporary {
        layers.warn_at(
            layers.origin("database.url"),
            "database.url",
            "database.url is a temporary database: all users are gone when the gateway ends".to_owned(),
        );
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
    const REUSE: &str = "tokens.permission_reuse";
    let tokens = Tokens::read(layers, &file.section("tokens"), cx);
    if tokens.permission_reuse > tokens.permission_lifetime / 2 {
        let message = "must be half of tokens.permission_lifetime at most: a token that is given again has that much left";
        layers.mistake(layers.origin(REUSE), REUSE, message);
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

/// The proxy by which providers are reached.
fn proxy(layers: &mut Layers<'_>, address: Option<Text>, without: Option<Text>) -> Option<EgressProxy> {
    const KEY: &str = "upstream.proxy";
    let Text(address, origin) = address?;
    match EgressProxy::new(
        address.trim(),
        without.as_ref().map(|Text(list, _)| list.as_str()),
    ) {
        Ok(proxy) => {
            // Its address may have a password in it.
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

/// Says which hosts would go through the proxy all the same. The variables are shared with other programs, which read more
/// into them, so there it is a warning.
fn check_no_proxy(layers: &mut Layers<'_>, list: &str, origin: &Origin) {
    const KEY: &str = "upstream.no_proxy";
    const RIGHT: &str = "a host is a name (example.org, which includes the names below it), an IP address, a range such as \
        10.0.0.0/8, or * for all; it has no port and no scheme";
    let unknown = EgressProxy::unknown_hosts(list);
    if unknown.is_empty() {
        return;
    }
    let named = unknown.iter().map(|host| format!("{host:?}"));
    let named = named.collect::<Vec<_>>().join(", ");
    match origin {
        Origin::Variable(_) => layers.warn_at(
            Some(origin.clone()),
            KEY,
            format!("{named} is ignored, so the proxy is used there: {RIGHT}"),
        ),
        _ => layers.mistake(
            Some(origin.clone()),
            KEY,
            format!("{named} does not stand for a host: {RIGHT}"),
        ),
    }
}

/// The origins of applications, and where people go who came without `next`.
pub(super) fn origins(
    layers: &mut Layers<'_>,
    List(origins): List<WebOrigin>,
    default_next: Option<(PageUrl, Origin)>,
    external: &Url,
) -> (Origins, Url) {
    for (WebOrigin(url), from) in origins.iter().filter(|(origin, _)| is_exposed(&origin.0)) {
        layers.warn_at(Some(from.clone()), "origins", format!(
            "the origin {} is plain http and not on this machine: everybody on the way can read session tokens",
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
        layers.mistake(
            Some(from),
            "default_next",
            "must be on one of the origins, or on the gateway's own",
        );
    }
    (allowed, next)
}
