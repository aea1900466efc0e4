//! The sections with one struct each: server, admin, log, database, tokens, upstream, origins.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_model::UserLimits;
use gateway_store::{DatabaseUrl, UserIds};
use gateway_upstream::{EgressProxy, HttpLimits};
use url::Url;

use super::{Layers, Origin, loopback_url};
use crate::config::file::{self, List, Setting};
use crate::config::value::{
    AddressOrOff, Bytes, Count, DurationOrOff, External, Filter, IsJson, Network, PageUrl, RateOrOff,
    Value as _, WebOrigin, is_exposed,
};
use crate::config::{AdminConfig, LogConfig, ServerLimits, StorageConfig};
use crate::origins::Origins;
use crate::rate_limit::{Rate, RateLimitConfig};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn days(days: u64) -> Duration {
    seconds(days * 24 * 60 * 60)
}

/// In a minute, of one address: an office that signs in in the morning, not a script.
const SIGN_INS: NonZeroU32 = NonZeroU32::new(300).unwrap();
const UPDATES: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// What `[server]` says.
pub(super) struct Server {
    pub(super) listen: SocketAddr,
    pub(super) external: Url,
    pub(super) guest_threads: usize,
    pub(super) limits: ServerLimits,
}

pub(super) fn server(layers: &mut Layers<'_>, file: file::Server) -> Server {
    let listen = layers.value(
        "server.listen",
        "GATEWAY_LISTEN",
        file.listen,
        SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
    );
    let external = external(layers, file.external_address, listen);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = Count(u64::try_from(threads).unwrap_or(1));
    let guest_threads = layers
        .value(
            "server.guest_threads",
            "GATEWAY_GUEST_THREADS",
            file.guest_threads,
            threads,
        )
        .as_usize();
    let limits = ServerLimits {
        connections: layers
            .value(
                "server.connections",
                "GATEWAY_CONNECTIONS",
                file.connections,
                Count(4096),
            )
            .as_usize(),
        header_timeout: layers.value(
            "server.header_timeout",
            "GATEWAY_HEADER_TIMEOUT",
            file.header_timeout,
            seconds(10),
        ),
        request_timeout: layers.value(
            "server.request_timeout",
            "GATEWAY_REQUEST_TIMEOUT",
            file.request_timeout,
            seconds(30),
        ),
        max_body: layers
            .value(
                "server.max_body",
                "GATEWAY_MAX_BODY",
                file.max_body,
                Bytes(64 << 10),
            )
            .0,
        drain: layers.value("server.drain", "GATEWAY_DRAIN", file.drain, seconds(30)),
    };
    Server {
        listen,
        external,
        guest_threads,
        limits,
    }
}

/// `server.trusted_proxies` and `[rate_limits]`.
pub(super) fn rate_limits(
    layers: &mut Layers<'_>,
    trusted_proxies: List,
    file: file::RateLimits,
    external: &Url,
) -> RateLimitConfig {
    const KEY: &str = "server.trusted_proxies";
    let proxies: Vec<(Network, Origin)> = layers
        .values(KEY, "GATEWAY_TRUSTED_PROXIES", trusted_proxies)
        .unwrap_or_default();
    let shown: Vec<String> = proxies.iter().map(|(proxy, _)| proxy.show()).collect();
    let from = proxies
        .first()
        .map_or(Origin::Default, |(_, origin)| origin.clone());
    layers.show_list(KEY, &shown, from);
    let mut rate = |key: &str, variable: &str, in_file: Setting, count: NonZeroU32| {
        let default = Rate {
            count,
            period: seconds(60),
        };
        layers.value(key, variable, in_file, RateOrOff(Some(default))).0
    };
    let limits = RateLimitConfig {
        trusted_proxies: proxies.into_iter().map(|(Network(network), _)| network).collect(),
        sign_in: rate(
            "rate_limits.sign_in",
            "GATEWAY_RATE_LIMIT_SIGN_IN",
            file.sign_in,
            SIGN_INS,
        ),
        update: rate(
            "rate_limits.update",
            "GATEWAY_RATE_LIMIT_UPDATE",
            file.update,
            UPDATES,
        ),
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

fn external(layers: &mut Layers<'_>, in_file: Setting, listen: SocketAddr) -> Url {
    const KEY: &str = "server.external_address";
    const VARIABLE: &str = "EXTERNAL_ADDRESS";
    // Whether it is set decides on the mistake, whether it can be read does not.
    let set = layers.text(KEY, VARIABLE, in_file.clone()).is_some();
    if let Some((External(url), _)) = layers.optional(KEY, VARIABLE, in_file) {
        if is_exposed(&url) {
            layers.warn_at(layers.origin(KEY), KEY, format!(
                "{KEY} is plain http and not on this machine: everybody on the way can read session tokens; put a \
                 proxy with TLS in front"
            ));
        }
        return url;
    }
    if let Some(url) = loopback_url(listen) {
        if !set {
            layers.show(KEY, External(url.clone()).show(), Origin::Default);
        }
        return url;
    }
    if !set {
        layers.mistake(
            None,
            KEY,
            format!("is missing: set it, or {VARIABLE}, to the address that browsers reach the gateway at"),
        );
    }
    fallback_url()
}

/// Stands in for an address that is a mistake, so that the rest can be checked.
#[expect(clippy::expect_used, reason = "a constant")]
fn fallback_url() -> Url {
    Url::parse("https://localhost/").expect("a URL")
}

pub(super) fn admin(layers: &mut Layers<'_>, file: file::Admin, data_dir: &Path) -> AdminConfig {
    const LISTEN: &str = "admin.listen";
    const METRICS: &str = "admin.metrics_listen";
    let default = AddressOrOff(Some((Ipv4Addr::LOCALHOST, 8081).into()));
    let AddressOrOff(listen) = layers.value(LISTEN, "GATEWAY_ADMIN_LISTEN", file.listen, default);
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        let warning =
            "admin.listen is not on loopback: its token, in plain http, is all that keeps others out";
        layers.warn_at(layers.origin(LISTEN), LISTEN, warning.to_owned());
    }
    let token_file = layers.value(
        "admin.token_file",
        "GATEWAY_ADMIN_TOKEN_FILE",
        file.token_file,
        data_dir.join("admin-token"),
    );
    let AddressOrOff(metrics_listen) = layers.value(
        METRICS,
        "GATEWAY_METRICS_LISTEN",
        file.metrics_listen,
        AddressOrOff(None),
    );
    let metrics_token_file: Option<PathBuf> = layers
        .optional(
            "admin.metrics_token_file",
            "GATEWAY_METRICS_TOKEN_FILE",
            file.metrics_token_file,
        )
        .map(|(path, _)| path);
    if metrics_token_file.is_none() && metrics_listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        let warning = "admin.metrics_listen is not on loopback and asks for no token: everybody who reaches it can read \
                       the metrics; set admin.metrics_token_file, or let only Prometheus reach it";
        layers.warn_at(layers.origin(METRICS), METRICS, warning.to_owned());
    }
    if metrics_token_file.as_ref() == Some(&token_file) {
        let message = "must be another file than admin.token_file, whose token can do everything";
        let origin = layers.origin("admin.metrics_token_file");
        layers.mistake(origin, "admin.metrics_token_file", message);
    }
    AdminConfig {
        listen,
        token_file,
        metrics_listen,
        metrics_token_file,
    }
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

pub(super) fn log(layers: &mut Layers<'_>, file: file::Log) -> LogConfig {
    let IsJson(json) = layers.value("log.format", "GATEWAY_LOG_FORMAT", file.format, IsJson(true));
    let Filter(filter) = layers.value(
        "log.filter",
        "GATEWAY_LOG",
        file.filter,
        Filter("info".to_owned()),
    );
    LogConfig { json, filter }
}

/// Where things are kept, and how much of one user: the data directory, `[database]` and `[users]`.
pub(super) fn storage(
    layers: &mut Layers<'_>,
    data_dir: Setting,
    file: file::Database,
    users: file::Users,
) -> StorageConfig {
    let data_dir = layers.value("data_dir", "GATEWAY_DATA_DIR", data_dir, PathBuf::from("data"));
    if let Err(error) = gateway_store::owned::directory(&data_dir) {
        layers.mistake(layers.origin("data_dir"), "data_dir", error.to_string());
    }
    let default = DatabaseUrl::File(data_dir.join("gateway.db"));
    let database = layers.value("database.url", "DATABASE_URL", file.url, default);
    if database == DatabaseUrl::Temporary {
        layers.warn_at(
            layers.origin("database.url"),
            "database.url",
            "database.url is a temporary database: all users are gone when the gateway ends".to_owned(),
        );
    }
    let user_ids = layers.value(
        "database.user_ids",
        "GATEWAY_USER_IDS",
        file.user_ids,
        UserIds::Random,
    );
    let event_retention = layers.value(
        "database.event_retention",
        "GATEWAY_EVENT_RETENTION",
        file.event_retention,
        days(30),
    );
    StorageConfig {
        data_dir,
        database,
        user_ids,
        event_retention,
        user_limits: user_limits(layers, users),
    }
}

fn user_limits(layers: &mut Layers<'_>, file: file::Users) -> UserLimits {
    let default = UserLimits::default();
    let mut count = |key: &str, variable: &str, in_file: Setting, default: usize| {
        let default = Count(u64::try_from(default).unwrap_or(u64::MAX));
        layers.value(key, variable, in_file, default).as_usize()
    };
    let sessions = count(
        "users.sessions",
        "GATEWAY_USER_SESSIONS",
        file.sessions,
        default.sessions,
    );
    let attributes = count(
        "users.attributes",
        "GATEWAY_USER_ATTRIBUTES",
        file.attributes,
        default.attributes,
    );
    let identities = count(
        "users.identities",
        "GATEWAY_USER_IDENTITIES",
        file.identities,
        default.identities,
    );
    let Bytes(attribute_bytes) = layers.value(
        "users.attribute_bytes",
        "GATEWAY_USER_ATTRIBUTE_BYTES",
        file.attribute_bytes,
        Bytes(default.attribute_bytes),
    );
    UserLimits {
        attributes,
        attribute_bytes,
        identities,
        sessions,
    }
}

/// How long tokens last.
pub(super) struct Tokens {
    pub(super) session_lifetime: Duration,
    pub(super) permission_lifetime: Duration,
    /// How long after its signature a permission token may be given again; zero where it may not.
    pub(super) permission_reuse: Duration,
}

pub(super) fn tokens(layers: &mut Layers<'_>, file: file::Tokens) -> Tokens {
    let session = layers.value(
        "tokens.session_lifetime",
        "GATEWAY_SESSION_LIFETIME",
        file.session_lifetime,
        days(14),
    );
    let permission = layers.value(
        "tokens.permission_lifetime",
        "GATEWAY_PERMISSION_LIFETIME",
        file.permission_lifetime,
        seconds(15 * 60),
    );
    let reuse = layers.value(
        "tokens.permission_reuse",
        "GATEWAY_PERMISSION_REUSE",
        file.permission_reuse,
        DurationOrOff(Some(permission / 2)),
    );
    let reuse = reuse.0.unwrap_or_default();
    if reuse > permission / 2 {
        layers.mistake(
            layers.origin("tokens.permission_reuse"),
            "tokens.permission_reuse",
            "must be half of tokens.permission_lifetime at most: a token that is given again has that much left",
        );
    }
    Tokens {
        session_lifetime: session,
        permission_lifetime: permission,
        permission_reuse: reuse,
    }
}

pub(super) fn upstream(layers: &mut Layers<'_>, file: file::Upstream) -> HttpLimits {
    HttpLimits {
        timeout: layers.value(
            "upstream.timeout",
            "GATEWAY_UPSTREAM_TIMEOUT",
            file.timeout,
            seconds(10),
        ),
        max_body: layers
            .value(
                "upstream.max_body",
                "GATEWAY_UPSTREAM_MAX_BODY",
                file.max_body,
                Bytes(1 << 20),
            )
            .0,
        proxy: proxy(layers, file.proxy, file.no_proxy),
    }
}

/// The proxy by which providers are reached. The usual variables name one: those in capitals win, as the gateway's own.
fn proxy(layers: &mut Layers<'_>, address: Setting, no_proxy: Setting) -> Option<EgressProxy> {
    const KEY: &str = "upstream.proxy";
    const ADDRESS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    const WITHOUT: [&str; 2] = ["NO_PROXY", "no_proxy"];
    let (address, origin) = first(layers, KEY, ADDRESS, address)?;
    let without = first(layers, "upstream.no_proxy", WITHOUT, no_proxy);
    match EgressProxy::new(address.trim(), without.as_ref().map(|(list, _)| list.as_str())) {
        Ok(proxy) => {
            // Its address may have a password in it.
            layers.show(KEY, proxy.to_string(), origin);
            if let Some((list, origin)) = without {
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

/// What the first of several variables says that is set, or else the file.
fn first<const N: usize>(
    layers: &mut Layers<'_>,
    key: &str,
    variables: [&str; N],
    in_file: Setting,
) -> Option<(String, Origin)> {
    let environment = &layers.sources.environment;
    let set = variables.into_iter().find(|name| environment.get(name).is_some());
    layers.text(key, set.unwrap_or(variables[0]), in_file)
}

/// The origins of applications, and where people go who came without `next`.
pub(super) fn origins(
    layers: &mut Layers<'_>,
    origins: List,
    default_next: Setting,
    external: &Url,
) -> (Origins, Url) {
    let origins: Vec<(WebOrigin, Origin)> = layers
        .values("origins", "ALLOWED_ORIGINS", origins)
        .unwrap_or_default();
    for (WebOrigin(url), from) in origins.iter().filter(|(origin, _)| is_exposed(&origin.0)) {
        layers.warn_at(Some(from.clone()), "origins", format!(
            "the origin {} is plain http and not on this machine: everybody on the way can read session tokens",
            url.origin().ascii_serialization()
        ));
    }
    let shown: Vec<String> = origins.iter().map(|(origin, _)| origin.show()).collect();
    let from = origins
        .first()
        .map_or(Origin::Default, |(_, origin)| origin.clone());
    layers.show_list("origins", &shown, from);
    let mut allowed: Vec<url::Origin> = origins.into_iter().map(|(origin, _)| origin.0.origin()).collect();
    allowed.dedup();
    let mut allowed = Origins::from(allowed);
    if allowed.iter().next().is_none() && layers.sources.presets.loopback_origins {
        allowed = allowed.and_loopback();
    }

    let home = PageUrl(external.clone());
    let Some((PageUrl(next), from)) = layers.optional("default_next", "GATEWAY_DEFAULT_NEXT", default_next)
    else {
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
