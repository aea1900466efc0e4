//! The sections of the TOML file, a struct each. Each field's doc names its key and the variable that
//! wins over it.
//!
//! Every value is kept as text with its place in the file, and read by the same code that reads
//! variables: a setting means the same wherever it is written, and a mistake in it is told in the same
//! words.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;

/// A text, number or boolean, with its place.
pub type Setting = Option<Spanned<Scalar>>;

/// Several texts, with the place of each.
pub type List = Option<Spanned<Vec<Spanned<Scalar>>>>;

/// Sections by name, with the place of the name.
pub type Named<T> = BTreeMap<Spanned<String>, T>;

/// The whole file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// `plugin_dir`, `GATEWAY_PLUGIN_DIR`: the directory of the plugins' files, `plugins` unless set.
    pub plugin_dir: Setting,
    /// `data_dir`, `GATEWAY_DATA_DIR`: the gateway's private directory, `data` unless set; made where it
    /// is missing.
    pub data_dir: Setting,
    /// `extensions`, `INSTALLED_EXTENSIONS` (`;`-delimited): plugins whose hooks are called, in this order.
    pub extensions: List,
    /// `origins`, `ALLOWED_ORIGINS` (`;`-delimited): origins of applications, `scheme://host[:port]`.
    pub origins: List,
    /// `default_next`, `GATEWAY_DEFAULT_NEXT`: where people go who came without `next`; an address on one
    /// of the origins. The gateway's own page unless set.
    pub default_next: Setting,
    /// `jsonp`, `GATEWAY_JSONP`: whether JSONP is answered; `false` unless set.
    pub jsonp: Setting,
    /// `user_lookup`, `GATEWAY_USER_LOOKUP`: whether `/auth/resolve` and `/auth/get_profile` answer, which
    /// lets anyone enumerate users; `false` unless set.
    pub user_lookup: Setting,
    /// `[server]`
    pub server: Server,
    /// `[admin]`
    pub admin: Admin,
    /// `[database]`
    pub database: Database,
    /// `[users]`
    pub users: Users,
    /// `[keys]`
    pub keys: Keys,
    /// `[tokens]`
    pub tokens: Tokens,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[rate_limits]`
    pub rate_limits: RateLimits,
    /// `[log]`
    pub log: Log,
    /// `[pages]`
    pub pages: Pages,
    /// `[providers.NAME]`: the upstream providers that people sign in with, offered in the order of the
    /// file. `GATEWAY_PROVIDERS` (`;`-delimited) names those that are configured by variables alone.
    pub providers: Named<Provider>,
    /// `[service.NAME]`. `ALLOWED_SERVICES`, `;`-delimited `[service:]plugin`, says in place of the file
    /// which services there are.
    pub service: Named<Service>,
    /// `[plugin.NAME]`
    pub plugin: Named<Plugin>,
    /// `[plugins]`
    pub plugins: Plugins,
}

/// `[plugins]`: what holds for every plugin's file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    /// `plugins.trusted_keys`, `GATEWAY_TRUSTED_KEYS` (`;`-delimited): public Ed25519 keys, PEM files or PEM
    /// texts. Every plugin's file must be signed by one of them. No signatures are asked for unless set.
    pub trusted_keys: List,
    /// `plugins.allow_v1_signatures`, `GATEWAY_ALLOW_V1_SIGNATURES`: whether signatures count that name neither
    /// the plugin nor its version.
    pub allow_v1_signatures: Setting,
    /// `plugins.max_size`, `GATEWAY_PLUGIN_MAX_SIZE`: largest file of a plugin; `128MiB` unless set.
    pub max_size: Setting,
    /// `plugins.compile_time`, `GATEWAY_PLUGIN_COMPILE_TIME`: how long compiling one may take; `2m` unless
    /// set.
    pub compile_time: Setting,
    /// `plugins.compile_memory`, `GATEWAY_PLUGIN_COMPILE_MEMORY`: the address space that compiling one may
    /// take; `2GiB` unless set.
    pub compile_memory: Setting,
    /// `plugins.total_memory`, `GATEWAY_PLUGINS_TOTAL_MEMORY`: the memory that the calls of all plugins have
    /// together, of which each plugin has a quarter at most; `256MiB` for each guest thread, and at least `512MiB`,
    /// unless set.
    pub total_memory: Setting,
}

/// `[server]`: the public listener and what a caller may cost.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// `server.listen`, `GATEWAY_LISTEN`: address and port; `127.0.0.1:8080` unless set.
    pub listen: Setting,
    /// `server.external_address`, `EXTERNAL_ADDRESS`: where browsers reach the gateway; no scheme means
    /// https. Must be set, unless the gateway listens on loopback.
    pub external_address: Setting,
    /// `server.trusted_proxies`, `GATEWAY_TRUSTED_PROXIES` (`;`-delimited): addresses or networks (CIDR) of proxies that
    /// are believed when `X-Forwarded-For` says who the client is; none unless set.
    pub trusted_proxies: List,
    /// `server.guest_threads`, `GATEWAY_GUEST_THREADS`: threads that run plugins and sign; as many as there
    /// are processors unless set.
    pub guest_threads: Setting,
    /// `server.connections`, `GATEWAY_CONNECTIONS`: most connections at once; 4096 unless set.
    pub connections: Setting,
    /// `server.header_timeout`, `GATEWAY_HEADER_TIMEOUT`: for a request's head, and for its body;
    /// `10s` unless set.
    pub header_timeout: Setting,
    /// `server.request_timeout`, `GATEWAY_REQUEST_TIMEOUT`: for a whole request; `30s` unless set.
    pub request_timeout: Setting,
    /// `server.max_body`, `GATEWAY_MAX_BODY`: largest request body; `64KiB` unless set.
    pub max_body: Setting,
    /// `server.drain`, `GATEWAY_DRAIN`: for requests in flight at shutdown; `30s` unless set.
    pub drain: Setting,
}

/// `[admin]`: the listener for operators.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// `admin.listen`, `GATEWAY_ADMIN_LISTEN`: address and port, or `off`; `127.0.0.1:8081` unless set.
    pub listen: Setting,
    /// `admin.token_file`, `GATEWAY_ADMIN_TOKEN_FILE`: the file that holds the token, `admin-token` in the
    /// data directory unless set; written at start where it is missing.
    pub token_file: Setting,
    /// `admin.metrics_listen`, `GATEWAY_METRICS_LISTEN`: address and port of a listener that answers `/metrics` and
    /// nothing else, or `off`; `off` unless set.
    pub metrics_listen: Setting,
    /// `admin.metrics_token_file`, `GATEWAY_METRICS_TOKEN_FILE`: a file that holds a token with which `/metrics` can be
    /// read and nothing else done; its group may read it. Written at start where it is missing.
    pub metrics_token_file: Setting,
}

/// `[database]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `database.url`, `DATABASE_URL`: `sqlite:///relative`, `sqlite:////absolute`, or `sqlite://` for a
    /// temporary one; `gateway.db` in the data directory unless set.
    pub url: Setting,
    /// `database.user_ids`, `GATEWAY_USER_IDS`: `random`, or `email-md5` for permission data that is keyed
    /// that way; `random` unless set.
    pub user_ids: Setting,
    /// `database.event_retention`, `GATEWAY_EVENT_RETENTION`: how long events are kept, those that no hook has answered
    /// as well; `30d` unless set.
    pub event_retention: Setting,
}

/// `[users]`: what one user may take up.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Users {
    /// `users.sessions`, `GATEWAY_USER_SESSIONS`: most sessions of one user at once; a further sign-in ends the oldest;
    /// `100` unless set.
    pub sessions: Setting,
    /// `users.attributes`, `GATEWAY_USER_ATTRIBUTES`: most attributes that hooks may set on one user; `1000` unless set.
    pub attributes: Setting,
    /// `users.attribute_bytes`, `GATEWAY_USER_ATTRIBUTE_BYTES`: most bytes in their names and values together; `128KiB`
    /// unless set.
    pub attribute_bytes: Setting,
    /// `users.identities`, `GATEWAY_USER_IDENTITIES`: most identities of one user; `20` unless set.
    pub identities: Setting,
}

/// `[keys]`: what signs tokens.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// `keys.signing`, `GATEWAY_SIGNING_KEYS` (`;`-delimited): PEM files, or directories of `*.pem` files.
    /// Of a directory the file whose name is last signs, the others are published. `keys` in the data
    /// directory unless set. `PRIVATE_KEY`, a PEM text, comes before all of them.
    pub signing: List,
    /// `keys.public`, `GATEWAY_PUBLIC_KEYS` (`;`-delimited): PEM files of public keys to publish beside. A
    /// `PUBLIC_KEY`, a PEM text, comes before them.
    pub public: List,
    /// `keys.session_secret`, `GATEWAY_SESSION_SECRET`: 32 bytes or more that nobody can guess; derived from
    /// the signing keys unless set.
    pub session_secret: Setting,
    /// `keys.session_secret_file`, `GATEWAY_SESSION_SECRET_FILE`: a file that holds it.
    pub session_secret_file: Setting,
    /// `keys.session_secrets`, `GATEWAY_SESSION_SECRETS` (`;`-delimited), in place of one secret: the first one signs,
    /// all are accepted. `derived` stands for the secrets that are derived where none is set.
    pub session_secrets: List,
    /// `keys.session_secrets_file`, `GATEWAY_SESSION_SECRETS_FILE`: a file that holds them, one a line.
    pub session_secrets_file: Setting,
}

/// `[tokens]`: how long they live.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// `tokens.session_lifetime`, `GATEWAY_SESSION_LIFETIME`: `14d` unless set.
    pub session_lifetime: Setting,
    /// `tokens.permission_lifetime`, `GATEWAY_PERMISSION_LIFETIME`: `15m` unless set.
    pub permission_lifetime: Setting,
    /// `tokens.permission_reuse`, `GATEWAY_PERMISSION_REUSE`: how long after its signature a permission token is
    /// given again while its claims are unchanged, or `off`; half of its lifetime at most, and unless set.
    pub permission_reuse: Setting,
}

/// `[upstream]`: how upstream providers are reached, and what one may cost.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// `upstream.timeout`, `GATEWAY_UPSTREAM_TIMEOUT`: for one request; `10s` unless set.
    pub timeout: Setting,
    /// `upstream.max_body`, `GATEWAY_UPSTREAM_MAX_BODY`: largest answer; `1MiB` unless set.
    pub max_body: Setting,
    /// `upstream.proxy`, `HTTPS_PROXY`, `ALL_PROXY`: an egress proxy, for providers that are not on this machine.
    pub proxy: Setting,
    /// `upstream.no_proxy`, `NO_PROXY`: hosts that are reached without it.
    pub no_proxy: Setting,
}

/// `[rate_limits]`: how often one client's address may ask. Without `server.trusted_proxies` addresses of this machine and
/// of private networks are not limited, since they may be a proxy's.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// `rate_limits.sign_in`, `GATEWAY_RATE_LIMIT_SIGN_IN`: beginnings and ends of sign-ins together, a number in a second,
    /// minute or hour, or `off`; `300/m` unless set.
    pub sign_in: Setting,
    /// `rate_limits.update`, `GATEWAY_RATE_LIMIT_UPDATE`: calls of `POST /auth/update`; `60/m` unless set.
    pub update: Setting,
}

/// `[log]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `log.format`, `GATEWAY_LOG_FORMAT`: `json` or `text`; `json` unless set.
    pub format: Setting,
    /// `log.filter`, `GATEWAY_LOG`: what is logged, for example `info` or `warn,gateway=debug`; `info`
    /// unless set.
    pub filter: Setting,
}

/// `[pages]`: what the pages look like that people see.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pages {
    /// `pages.name`, `GATEWAY_PAGES_NAME`: the name at the top of each page; `Auth gateway` unless set.
    pub name: Setting,
    /// `pages.logo`, `GATEWAY_PAGES_LOGO`: an SVG or PNG file that is shown beside the name.
    pub logo: Setting,
    /// `pages.accent`, `GATEWAY_PAGES_ACCENT`: the colour of buttons and links, `#rrggbb`.
    pub accent: Setting,
}

/// `[providers.NAME]`: an upstream provider. `NAME` in a variable is in upper case, with `_` for
/// anything but letters and digits. The variable of a key is `GATEWAY_PROVIDER_NAME_` and the key in upper case, unless
/// another one is named. `google` and `github` need no more than an id and a secret.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// `preset`: a well-known provider, whose settings are the defaults of all others; the one of the section's name for
    /// `google` and `github`.
    pub preset: Setting,
    /// `domain`: what a preset needs to know.
    pub domain: Setting,
    /// `tenant`: what a preset needs to know.
    pub tenant: Setting,
    /// `realm`: what a preset needs to know.
    pub realm: Setting,
    /// `application`: what a preset needs to know.
    pub application: Setting,
    /// `user_pool`: what a preset needs to know.
    pub user_pool: Setting,
    /// `kind`: `oidc`, `oauth2` or `github`; `oidc` unless set.
    pub kind: Setting,
    /// `issuer`: the issuer's exact identifier. For `oauth2` a URL of your choice that stands for it.
    pub issuer: Setting,
    /// `discovery_url`: for `oidc`, where the provider describes itself; below its issuer's identifier unless set.
    pub discovery_url: Setting,
    /// `web`: for `github`; `https://github.com` unless set.
    pub web: Setting,
    /// `api`: for `github`; `https://api.github.com`, or `/api/v3` of another `web`, unless set.
    pub api: Setting,
    /// `authorize_url`: for `oauth2`, the authorization endpoint.
    pub authorize_url: Setting,
    /// `token_url`: for `oauth2`, the token endpoint.
    pub token_url: Setting,
    /// `userinfo_url`: for `oauth2`, where the provider says who the person is.
    pub userinfo_url: Setting,
    /// `[providers.NAME.claims]`: for `oauth2`, where everything is in that answer.
    pub claims: Claims,
    /// `client_id`; `GOOGLE_KEY` and `GITHUB_KEY` for those two.
    pub client_id: Setting,
    /// `client_secret`; `GOOGLE_SECRET` and `GITHUB_SECRET` for those two.
    pub client_secret: Setting,
    /// `client_secret_file`, the variable of `client_secret` and `_FILE`: a file that holds it.
    pub client_secret_file: Setting,
    /// `client_auth`: how the gateway proves which client it is: `auto`, `basic`, `post`, `private_key_jwt`, `apple` or
    /// `none`; `auto` unless set.
    pub client_auth: Setting,
    /// `client_key`: the private key for `private_key_jwt` and `apple`, a PEM text.
    pub client_key: Setting,
    /// `client_key_file`: a file that holds it.
    pub client_key_file: Setting,
    /// `client_key_id`: what the provider calls that key.
    pub client_key_id: Setting,
    /// `client_key_alg`: the algorithm that it signs with; by its type unless set.
    pub client_key_alg: Setting,
    /// `client_assertion_audience`: whom assertions of `private_key_jwt` are for: `token_endpoint` or `issuer`;
    /// `token_endpoint` unless set.
    pub client_assertion_audience: Setting,
    /// `team_id`: for `client_auth = "apple"`, the team that the key belongs to.
    pub team_id: Setting,
    /// `trusted_email`: whether its verified addresses may find an existing user; `true` for Google and GitHub
    /// themselves, else `false`.
    pub trusted_email: Setting,
    /// `assume_email_verified`: whether its addresses count as verified where it does not say; `false`.
    pub assume_email_verified: Setting,
    /// `allow_private_addresses`: whether its names may lead to private addresses; `false`.
    pub allow_private_addresses: Setting,
    /// `scopes` (`;`-delimited): all that are asked for; `openid email profile` for `oidc`, `read:user user:email` for
    /// `github`, none for `oauth2`, unless set.
    pub scopes: List,
    /// `audiences` (`;`-delimited): further audiences that ID tokens may have; none unless set.
    #[serde(deserialize_with = "texts")]
    pub audiences: List,
    /// `tenants` (`;`-delimited): for an issuer with `{tenantid}` in it, the tenants whose people may sign in.
    #[serde(deserialize_with = "texts")]
    pub tenants: List,
    /// `nonce`: whether ID tokens must repeat the nonce: `required`, `optional` or `off`; `required` unless set.
    pub nonce: Setting,
    /// `response_mode`: how the provider answers: `query` or `form_post`; `query` unless set.
    pub response_mode: Setting,
    /// `par`: whether authorization requests are pushed: `auto`, `always` or `never`; `auto` unless set.
    pub par: Setting,
    /// `prompt`: what the provider is to ask people each time, as in `select_account`; nothing unless set.
    pub prompt: Setting,
    /// `authorization_parameters` (`;`-delimited `name=value`): further parameters of authorization requests.
    pub authorization_parameters: Named<Spanned<Scalar>>,
    /// `userinfo`: when the userinfo endpoint is asked: `auto`, `always`, `never` or `required`; `auto` unless set.
    pub userinfo: Setting,
    /// `sign_out`: `local`, or `provider` to end the session at the provider too; `local` unless set. For `oidc`.
    pub sign_out: Setting,
    /// `display_name`: what people are told it is called.
    pub display_name: Setting,
    /// `icon`: the name of a mark that the gateway has, or a PNG or SVG file.
    pub icon: Setting,
}

/// `[providers.NAME.claims]`: where everything is in what an `oauth2` provider says of a person. The variables are
/// `GATEWAY_PROVIDER_NAME_CLAIMS_SUBJECT` and so on.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Claims {
    /// `claims.subject`: what a person is known by for good, a text or a whole number; must be set.
    pub subject: Setting,
    /// `claims.email`: the address.
    pub email: Setting,
    /// `claims.email_verified`: whether the provider has verified it.
    pub email_verified: Setting,
    /// `claims.name`: the display name.
    pub name: Setting,
    /// `claims.picture`: the URL of a picture.
    pub picture: Setting,
}

/// `[service.NAME]`: a service that `authorize` answers for.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// `plugin`: the plugin that returns permissions; the one of the service's name unless set. `provider`, its earlier
    /// name, is accepted.
    #[serde(alias = "provider")]
    pub plugin: Setting,
    /// `audience`: the `aud` claim of its permission tokens; none unless set.
    pub audience: Setting,
}

/// `[plugin.NAME]`: what a plugin may do. Its file is `<plugin_dir>/NAME.wasm`. `NAME` in a variable as for
/// providers.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugin {
    /// `sha256`, `GATEWAY_PLUGIN_NAME_SHA256`: the hex digest of the one component that may serve; any
    /// unless set.
    pub sha256: Setting,
    /// `grants`, `GATEWAY_PLUGIN_NAME_GRANTS` (`;`-delimited): what it may import; nothing unless set.
    pub grants: List,
    /// `on_failure`, `GATEWAY_PLUGIN_NAME_ON_FAILURE`: `refuse` or `pass`: what happens to a sign-in where
    /// its hook fails; `refuse` unless set.
    pub on_failure: Setting,
    /// `prepared`, `GATEWAY_PLUGIN_NAME_PREPARED`: how many instances are made ahead of need; `2` unless set.
    pub prepared: Setting,
    /// `settings`: what it reads through the grant `config`. Tables in it are flattened: `role.admin` is
    /// the setting `admin` in the table `role`, and the other way round.
    pub settings: Settings,
    /// `secrets`: what it reads through the grant `secrets`, by name: each with the place where it is.
    pub secrets: Named<SecretPlace>,
    /// `[plugin.NAME.http]`
    pub http: Http,
    /// `[plugin.NAME.limits]`
    pub limits: Limits,
}

/// Where a plugin's secret is: in a file or a variable. Not here, where many may read it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "where the secret is, { file = \"/path\" } or { env = \"VARIABLE\" }, not the secret itself"
)]
pub struct SecretPlace {
    /// `secrets.KEY.file`: the file that holds it. It is read again on SIGHUP.
    pub file: Setting,
    /// `secrets.KEY.env`: the variable that holds it.
    pub env: Setting,
}

/// `[plugin.NAME.http]`: where a plugin that is granted `http` may send requests, and what they may cost.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// `http.allow`, `GATEWAY_PLUGIN_NAME_HTTP_ALLOW` (`;`-delimited): origins, `scheme://host[:port]`; none
    /// unless set.
    pub allow: List,
    /// `http.allow_private`, `GATEWAY_PLUGIN_NAME_HTTP_ALLOW_PRIVATE` (`;`-delimited): the names of hosts among
    /// them that may have private addresses; none unless set.
    pub allow_private: List,
    /// `http.timeout`, `GATEWAY_PLUGIN_NAME_HTTP_TIMEOUT`: for one request and its whole response; `2s` unless
    /// set.
    pub timeout: Setting,
    /// `http.max_body`, `GATEWAY_PLUGIN_NAME_HTTP_MAX_BODY`: largest body of a request, and of a response;
    /// `1MiB` unless set.
    pub max_body: Setting,
    /// `http.requests`, `GATEWAY_PLUGIN_NAME_HTTP_REQUESTS`: most requests in one call; `10` unless set.
    pub requests: Setting,
}

/// `[plugin.NAME.limits]`: what one call of the plugin may use, and what the plugin may keep.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// `fuel`, `GATEWAY_PLUGIN_NAME_FUEL`: units of fuel, about one an instruction.
    pub fuel: Setting,
    /// `deadline`, `GATEWAY_PLUGIN_NAME_DEADLINE`: wall clock.
    pub deadline: Setting,
    /// `memory`, `GATEWAY_PLUGIN_NAME_MEMORY`: all memories and tables together.
    pub memory: Setting,
    /// `result_bytes`, `GATEWAY_PLUGIN_NAME_RESULT_BYTES`: largest answer.
    pub result_bytes: Setting,
    /// `result_items`, `GATEWAY_PLUGIN_NAME_RESULT_ITEMS`: most permissions or attributes in an answer.
    pub result_items: Setting,
    /// `log_bytes`, `GATEWAY_PLUGIN_NAME_LOG_BYTES`: most that a call may log, escapes counted as written.
    pub log_bytes: Setting,
    /// `log_bytes_per_minute`, `GATEWAY_PLUGIN_NAME_LOG_BYTES_PER_MINUTE`: most that all calls of the plugin may
    /// log in a minute, whole lines counted.
    pub log_bytes_per_minute: Setting,
    /// `store_bytes`, `GATEWAY_PLUGIN_NAME_STORE_BYTES`: all keys and values that it keeps.
    pub store_bytes: Setting,
    /// `value_bytes`, `GATEWAY_PLUGIN_NAME_VALUE_BYTES`: largest value that it keeps.
    pub value_bytes: Setting,
}

/// A text, number or boolean, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Scalar(pub String);

/// A list of what is a text at the provider, too: `[5]` is a mistake.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<List, D::Error> {
    let list: Option<Spanned<Vec<Spanned<String>>>> = serde::Deserialize::deserialize(deserializer)?;
    Ok(list.map(|list| {
        let span = list.span();
        let texts = list.into_inner().into_iter();
        let scalars = texts.map(|text| Spanned::new(text.span(), Scalar(text.into_inner())));
        Spanned::new(span, scalars.collect())
    }))
}

// It may be a secret.
impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scalar(…)")
    }
}

impl<'de> serde::Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, number or boolean")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Scalar, E> {
                Ok(Scalar(text))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A plugin's settings: names and values, tables flattened.
#[derive(Debug, Default)]
pub struct Settings(pub Vec<(String, Spanned<Scalar>)>);

/// One value of [`Settings`].
enum SettingOrTable {
    Setting(Scalar),
    Table(Settings),
}

impl<'de> serde::Deserialize<'de> for SettingOrTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EitherVisitor;
        impl<'de> Visitor<'de> for EitherVisitor {
            type Value = SettingOrTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, number, boolean or table")
            }

            fn visit_str<E>(self, text: &str) -> Result<SettingOrTable, E> {
                Ok(SettingOrTable::Setting(Scalar(text.to_owned())))
            }

            fn visit_bool<E>(self, value: bool) -> Result<SettingOrTable, E> {
                Ok(SettingOrTable::Setting(Scalar(value.to_string())))
            }

            fn visit_i64<E>(self, value: i64) -> Result<SettingOrTable, E> {
                Ok(SettingOrTable::Setting(Scalar(value.to_string())))
            }

            fn visit_f64<E>(self, value: f64) -> Result<SettingOrTable, E> {
                Ok(SettingOrTable::Setting(Scalar(value.to_string())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SettingOrTable, A::Error> {
                flatten(map).map(SettingOrTable::Table)
            }
        }
        deserializer.deserialize_any(EitherVisitor)
    }
}

impl<'de> serde::Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableVisitor;
        impl<'de> Visitor<'de> for TableVisitor {
            type Value = Settings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Settings, A::Error> {
                flatten(map)
            }
        }
        deserializer.deserialize_map(TableVisitor)
    }
}

fn flatten<'de, A: MapAccess<'de>>(mut map: A) -> Result<Settings, A::Error> {
    let mut flat = Vec::new();
    while let Some((name, value)) = map.next_entry::<String, Spanned<SettingOrTable>>()? {
        let span = value.span();
        match value.into_inner() {
            SettingOrTable::Setting(scalar) => flat.push((name, Spanned::new(span, scalar))),
            SettingOrTable::Table(inner) => {
                flat.extend(
                    inner
                        .0
                        .into_iter()
                        .map(|(inner, value)| (format!("{name}.{inner}"), value)),
                );
            }
        }
    }
    Ok(Settings(flat))
}
