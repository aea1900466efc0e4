//! All settings, each declared once, in the syntax of [`field`](super::field).
//!
//! To add a setting, declare it here and run `just settings`, which writes it into `docs/configuration.md`. Its documentation
//! is Markdown, and appears there, in the JSON Schema for editors, and in the documentation of the struct.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use gateway_model::UserLimits;
use gateway_store::{DatabaseUrl, UserIds};
use ipnet::IpNet;
use url::Url;

use super::field::{List, Secret, Secrets, Text, section};
use super::layers::Texts;
use super::parse::join;
use super::setting::{Section, Setting};
use super::sources::Origin;
use super::value::{
    Accent, Bytes, Count, External, Filter, IsJson, Network, OrOff, PageName, PageUrl, WebOrigin,
};
use crate::pages::branding;
use crate::pages::colour::Rgb;
use crate::rate_limit::Rate;

mod plugins;
mod providers;

pub(super) use plugins::{Http, Limits, Plugin, Plugins, SecretPlace, Service};
pub(super) use providers::{
    Claims, Provider, ProviderClient, ProviderPages, ProviderPlaces, ProviderRequests, ProviderTrust,
};

/// Sections of one table are adjacent. The error for an unknown key lists the tables in this order.
pub(super) const SECTIONS: &[&Section] = &[
    &Directories::SECTION,
    &Applications::SECTION,
    &Server::SECTION,
    &AdminConfig::SECTION,
    &Database::SECTION,
    &Users::SECTION,
    &Keys::SECTION,
    &Tokens::SECTION,
    &Upstream::SECTION,
    &RateLimits::SECTION,
    &LogConfig::SECTION,
    &Pages::SECTION,
    &Provider::SECTION,
    &ProviderPlaces::SECTION,
    &Claims::SECTION,
    &ProviderTrust::SECTION,
    &ProviderRequests::SECTION,
    &ProviderClient::SECTION,
    &ProviderPages::SECTION,
    &Service::SECTION,
    &Plugin::SECTION,
    &SecretPlace::SECTION,
    &Http::SECTION,
    &Limits::SECTION,
    &Plugins::SECTION,
];

pub(super) fn find(path: &str, key: &str) -> Option<&'static Setting> {
    let sections = SECTIONS.iter().filter(|section| section.path == path);
    sections
        .flat_map(|section| section.settings)
        .find(|setting| setting.key == key)
}

/// Whether a reload applies a setting, by its full name.
pub(super) fn is_reloadable(key: &str) -> bool {
    SECTIONS.iter().any(|section| {
        let mut settings = section.settings.iter().filter(|setting| setting.reloadable);
        match section.path.split_once("NAME") {
            Some((path, _)) => key.starts_with(path) && settings.next().is_some(),
            None => settings.any(|setting| join(section.path, setting.key) == key),
        }
    })
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn days(days: u64) -> Duration {
    seconds(days * 24 * 60 * 60)
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn processors() -> Count {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Count::of(threads)
}

const fn per_minute(count: NonZeroU32) -> OrOff<Rate> {
    let period = seconds(60);
    OrOff(Some(Rate { count, period }))
}

/// For one address: enough for an office in the morning, too few for a script.
const SIGN_INS: OrOff<Rate> = per_minute(NonZeroU32::new(300).unwrap());
const UPDATES: OrOff<Rate> = per_minute(NonZeroU32::new(60).unwrap());

section! {
    /// Paths of the gateway's files.
    pub(super) struct Directories(cx) "" {
        /// The directory of `<name>.wasm` files.
        plugin_dir: PathBuf = PathBuf::from("plugins"), "GATEWAY_PLUGIN_DIR";
        /// The gateway's private directory, created with mode 0700 if it is missing; [nobody
        /// else](operations.md#file-ownership) may write to it.
        data_dir: PathBuf = PathBuf::from("data"), "GATEWAY_DATA_DIR", { installation: true };
    }
}

section! {
    /// Services for applications.
    pub(super) struct Applications(cx) "" {
        /// Plugins whose hooks are called, in this order.
        extensions: Option<Texts>, "INSTALLED_EXTENSIONS", { reloadable: true };
        /// Origins of applications, `scheme://host[:port]`: users may be sent back to them, and their pages may call the
        /// gateway. The gateway's own origin is always included.
        origins: List<WebOrigin>, "ALLOWED_ORIGINS", { reloadable: true };
        /// Where users go after a sign-in without `next`, on one of the origins.
        default_next: Option<(PageUrl, Origin)> => "the gateway's own page", "GATEWAY_DEFAULT_NEXT",
            { reloadable: true };
        /// Whether to answer JSONP requests.
        jsonp: bool = false, "GATEWAY_JSONP", { reloadable: true };
        /// Whether to enable `/auth/resolve` and `/auth/get_profile`, which let anyone enumerate users.
        user_lookup: bool = false, "GATEWAY_USER_LOOKUP", { reloadable: true };
    }
}

section! {
    /// The public listener, and what a caller may cost.
    #[derive(Clone, Debug)]
    pub struct Server(cx) "server" {
        /// Address and port.
        listen: SocketAddr = loopback(8080), "GATEWAY_LISTEN";
        /// The address at which browsers reach the gateway, https if it has no scheme.
        external_address: Option<Url> as Option<External> => "required unless the gateway listens on loopback",
            "EXTERNAL_ADDRESS", { installation: true };
        /// Addresses and networks (CIDR) of proxies, a list. The gateway trusts their `X-Forwarded-For`, and does not count
        /// their connections against them [when connections are scarce](operations.md#under-load).
        trusted_proxies: Vec<IpNet> as List<Network>, "GATEWAY_TRUSTED_PROXIES", { reloadable: true };
        /// Threads that run plugins and sign tokens.
        guest_threads: usize as Count = processors() => "the number of processors", "GATEWAY_GUEST_THREADS",
            { max: Some("1024") };
        /// Maximum number of connections. When few places are left, idle and slow connections [are
        /// closed](operations.md#under-load).
        connections: usize as Count = Count(4096), "GATEWAY_CONNECTIONS", { max: Some("1000000") };
        /// How long a request's headers may take, and its body.
        header_timeout: Duration = seconds(10), "GATEWAY_HEADER_TIMEOUT";
        /// How long a whole request may take.
        request_timeout: Duration = seconds(30), "GATEWAY_REQUEST_TIMEOUT";
        /// Largest request body.
        max_body: usize as Bytes = Bytes(64 << 10), "GATEWAY_MAX_BODY", { max: Some("1GiB") };
        /// How long requests in progress may take at shutdown.
        drain: Duration = seconds(30), "GATEWAY_DRAIN";
    }
}

section! {
    /// The listener for operators.
    #[derive(Clone, Debug)]
    pub struct AdminConfig(cx) "admin" {
        /// Address and port, or `off`.
        listen: Option<SocketAddr> as OrOff<SocketAddr> = OrOff(Some(loopback(8081))), "GATEWAY_ADMIN_LISTEN";
        /// The file (0600) with the token, written at start if it is missing.
        token_file: PathBuf = cx.data_dir.join("admin-token") => "`admin-token` in the data directory",
            "GATEWAY_ADMIN_TOKEN_FILE";
        /// Address and port of a second listener that serves only `/metrics`, or `off`.
        metrics_listen: Option<SocketAddr> as OrOff<SocketAddr> = OrOff(None), "GATEWAY_METRICS_LISTEN";
        /// A file (0600 or 0640) with a token that can only read `/metrics`, written (0640) at start if it is missing;
        /// rejected if it contains the admin token. See [Metrics for Prometheus](operations.md#metrics-for-prometheus).
        metrics_token_file: Option<PathBuf>, "GATEWAY_METRICS_TOKEN_FILE";
    }
}

section! {
    /// The database.
    #[derive(Clone, Debug)]
    pub struct Database(cx) "database" {
        /// `sqlite:///relative`, `sqlite:////absolute`, or `sqlite://` for a database that ends with the process.
        url: DatabaseUrl = DatabaseUrl::File(cx.data_dir.join("gateway.db")) => "`gateway.db` in the data directory",
            "DATABASE_URL", { installation: true };
        /// `random`, or `email-md5` for existing permission data with such keys.
        user_ids: UserIds = UserIds::Random, "GATEWAY_USER_IDS";
        /// How long events are kept, including those that no hook has answered.
        event_retention: Duration = days(30), "GATEWAY_EVENT_RETENTION", { max: Some("3650d") };
    }
}

section! {
    /// Limits of one user.
    pub(super) struct Users(cx) "users" {
        /// Maximum number of sessions; another sign-in ends the oldest.
        sessions: usize as Count = Count::of(UserLimits::default().sessions), "GATEWAY_USER_SESSIONS";
        /// Maximum number of attributes that hooks may set.
        attributes: usize as Count = Count::of(UserLimits::default().attributes), "GATEWAY_USER_ATTRIBUTES";
        /// Maximum number of bytes in the names and values of all attributes.
        attribute_bytes: usize as Bytes = Bytes(UserLimits::default().attribute_bytes),
            "GATEWAY_USER_ATTRIBUTE_BYTES";
        /// Maximum number of identities; another identity becomes a separate user.
        identities: usize as Count = Count::of(UserLimits::default().identities), "GATEWAY_USER_IDENTITIES";
    }
}

section! {
    /// The keys that sign tokens.
    pub(super) struct Keys(cx) "keys" {
        /// A list of PEM files, or of directories of `*.pem` files.
        signing: Option<Texts> => "`keys` in the data directory, unless `PRIVATE_KEY` is set", "GATEWAY_SIGNING_KEYS",
            { installation: true };
        /// A list of PEM files with more public keys to publish.
        public: Option<Texts>, "GATEWAY_PUBLIC_KEYS";
        /// 32 bytes or more that nobody can guess.
        session_secret: Option<Secret> => "derived from the signing keys", "GATEWAY_SESSION_SECRET", { installation: true };
        /// A list of up to 8 secrets, instead of `keys.session_secret`. New tokens are signed with the first; all of them are
        /// accepted. `derived` stands for the derived secrets.
        session_secrets: Option<Secrets>, "GATEWAY_SESSION_SECRETS", { installation: true };
    }
}

section! {
    /// How long tokens last.
    #[derive(Clone, Debug)]
    pub struct Tokens(cx) "tokens" {
        /// How long a session lasts.
        session_lifetime: Duration = days(14), "GATEWAY_SESSION_LIFETIME", { min: Some("1s"), max: Some("3650d") };
        /// How long a permission token is valid.
        permission_lifetime: Duration = seconds(15 * 60), "GATEWAY_PERMISSION_LIFETIME", { min: Some("1s"), max: Some("30d") };
        /// How long after it was signed a permission token may be returned again while its claims are unchanged, at most half
        /// of its lifetime, or `off`.
        permission_reuse: Duration as OrOff<Duration> = OrOff(Some(permission_lifetime / 2)) => "half of its lifetime",
            "GATEWAY_PERMISSION_REUSE", { max: Some("30d") };
    }
}

section! {
    /// How the gateway reaches upstream providers, and what a request to one may cost.
    pub(super) struct Upstream(cx) "upstream" {
        /// How long one request may take.
        timeout: Duration = seconds(10), "GATEWAY_UPSTREAM_TIMEOUT";
        /// Largest response.
        max_body: usize as Bytes = Bytes(1 << 20), "GATEWAY_UPSTREAM_MAX_BODY", { max: Some("1GiB") };
        /// The [egress proxy](providers.md#behind-an-egress-proxy), as in `http://proxy.example.org:3128`.
        /// The first variable that is set counts.
        proxy: Option<Text>, "HTTPS_PROXY" | "https_proxy" | "ALL_PROXY" | "all_proxy";
        /// Hosts that are reached without the proxy, separated by `,`, without ports: names (`example.org`, `.example.org` and
        /// `*.example.org` all mean the name and everything below it), IP addresses, networks (`10.0.0.0/8`), and `*` for all.
        /// `config check` rejects anything else here, and warns about it in a variable.
        no_proxy: Option<Text>, "NO_PROXY" | "no_proxy";
    }
}

section! {
    /// How many requests one address may make.
    pub(super) struct RateLimits(cx) "rate_limits" {
        /// Sign-ins that begin, and callbacks that match one, together.
        sign_in: Option<Rate> as OrOff<Rate> = SIGN_INS, "GATEWAY_RATE_LIMIT_SIGN_IN", { reloadable: true };
        /// Calls of `POST /auth/update`.
        update: Option<Rate> as OrOff<Rate> = UPDATES, "GATEWAY_RATE_LIMIT_UPDATE", { reloadable: true };
    }
}

section! {
    /// How the log is written, to stderr.
    #[derive(Clone, Debug)]
    pub struct LogConfig(cx) "log" {
        /// `json` or `text`.
        json: bool as IsJson = IsJson(true), "GATEWAY_LOG_FORMAT", { key: "format" };
        /// Which events to log, for example `info` or `warn,gateway=debug`.
        filter: String as Filter = Filter("info".to_owned()), "GATEWAY_LOG";
    }
}

section! {
    /// The appearance of the pages that users see.
    pub(super) struct Pages(cx) "pages" {
        /// The name at the top of each page and in its title, up to 60 characters.
        name: String as PageName = PageName(branding::NAME.to_owned()), "GATEWAY_PAGES_NAME", { reloadable: true };
        /// An SVG or PNG file of up to 256 KiB, shown beside the name and as the icon of the tab.
        logo: Option<PathBuf>, "GATEWAY_PAGES_LOGO", { reloadable: true };
        /// The colour of buttons and links on light pages, `#rrggbb`.
        accent: Rgb as Accent = Accent(branding::ACCENT), "GATEWAY_PAGES_ACCENT", { reloadable: true };
    }
}
