//! Services, and the plugins behind them.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway_host::{CompileOptions, DEFAULT_TOTAL_MEMORY};
use gateway_sandbox::{Grant, HostName, HttpOrigin, MAX_PREPARED, OnFailure};

use crate::config::field::{Text, Tree, section};
use crate::config::layers::Texts;
use crate::config::value::{Bytes, Count, Sha256Hex, UpTo};

section! {
    /// A service that `authorize` answers for.
    pub(in crate::config) struct Service(cx) "service.NAME" {
        /// The plugin that returns permissions. `provider`, the name of this key in earlier releases, is accepted too.
        plugin: Option<Text> => "the plugin with the service's name", { alias: Some("provider"), reloadable: true };
        /// The `aud` of the service's permission tokens, if its verifiers require one.
        audience: Option<String>, { reloadable: true };
    }
}

section! {
    /// A plugin's rights and settings.
    pub(in crate::config) struct Plugin(cx) "plugin.NAME" {
        /// The [grants](plugins/reference.md#imports) of the plugin, as a list.
        grants: BTreeSet<Grant> = cx.plugin.grants.clone(),
            "GATEWAY_PLUGIN_NAME_GRANTS", { reloadable: true };
        /// Whether a sign-in continues if the plugin's hook fails: `refuse` or `pass`.
        on_failure: OnFailure = cx.plugin.on_failure, "GATEWAY_PLUGIN_NAME_ON_FAILURE", { reloadable: true };
        /// The SHA-256 of the only component that may serve, 64 hex digits.
        sha256: Option<String> as Option<Sha256Hex> = cx.plugin.sha256.clone().map(Sha256Hex) => "any",
            "GATEWAY_PLUGIN_NAME_SHA256", { reloadable: true };
        /// How many instances to start in advance, each for one call, at most 64 for all plugins together. A call that finds
        /// one does not wait for it to start.
        prepared: usize as UpTo<{ MAX_PREPARED }> = UpTo(cx.plugin.prepared), "GATEWAY_PLUGIN_NAME_PREPARED",
            { reloadable: true };
        /// The settings that it reads through the grant `config`. Names with dots may be written as tables.
        settings: Tree, { reloadable: true };
    }
}

section! {
    /// A value that a plugin reads as `KEY` through the grant `secrets`.
    pub(in crate::config) struct SecretPlace(cx) "plugin.NAME.secrets.KEY"
        expects "where the secret is, { file = \"/path\" } or { env = \"VARIABLE\" }, not the secret itself"
    {
        /// A file with the value that it reads as `KEY` through the grant `secrets`: `KEY = { file = "/path" }`. A final line
        /// break is removed. Read again on SIGHUP.
        file: Option<Text>, { reloadable: true };
        /// Or a variable with the value: `KEY = { env = "VARIABLE" }`.
        env: Option<Text>, { reloadable: true };
    }
}

section! {
    /// Where a plugin may send requests, and what they may cost.
    pub(in crate::config) struct Http(cx) "plugin.NAME.http" {
        /// A list of the only origins, `scheme://host[:port]`, to which it may send requests through the grant `http`, without
        /// paths or wildcards. An IP address in this list is allowed, private or not.
        allow: BTreeSet<HttpOrigin> = cx.plugin.http.allow.clone(),
            "GATEWAY_PLUGIN_NAME_HTTP_ALLOW", { reloadable: true };
        /// A list of those host names among them that may resolve to private addresses: loopback, `10/8`, `172.16/12`,
        /// `192.168/16`, `100.64/10`, `fc00::/7`. All other names must resolve to public ones.
        allow_private: BTreeSet<HostName> = cx.plugin.http.allow_private.clone(),
            "GATEWAY_PLUGIN_NAME_HTTP_ALLOW_PRIVATE", { reloadable: true };
        /// How long one request and its whole response may take. The call's own deadline also applies, and is shorter by
        /// default.
        timeout: Duration = cx.plugin.http.timeout, "GATEWAY_PLUGIN_NAME_HTTP_TIMEOUT", { reloadable: true };
        /// Largest body of a request, and of a response.
        max_body: usize as Bytes = Bytes(cx.plugin.http.max_body), "GATEWAY_PLUGIN_NAME_HTTP_MAX_BODY", { reloadable: true };
        /// Maximum number of requests in one call.
        requests: usize as Count = Count::of(cx.plugin.http.requests), "GATEWAY_PLUGIN_NAME_HTTP_REQUESTS",
            { reloadable: true };
    }
}

section! {
    /// Limits of one call, and of the values that the plugin stores.
    pub(in crate::config) struct Limits(cx) "plugin.NAME.limits" {
        /// Units of fuel for one call, about one per instruction.
        fuel: u64 as Count = Count(cx.plugin.limits.fuel), "GATEWAY_PLUGIN_NAME_FUEL", { reloadable: true };
        /// How long one call may take, including waiting.
        deadline: Duration = cx.plugin.limits.deadline, "GATEWAY_PLUGIN_NAME_DEADLINE", { reloadable: true };
        /// All memories and tables together.
        memory: usize as Bytes = Bytes(cx.plugin.limits.memory), "GATEWAY_PLUGIN_NAME_MEMORY", { reloadable: true };
        /// Largest answer.
        result_bytes: usize as Bytes = Bytes(cx.plugin.limits.result_bytes), "GATEWAY_PLUGIN_NAME_RESULT_BYTES",
            { reloadable: true };
        /// Maximum number of permissions or attributes in it.
        result_items: usize as Count = Count::of(cx.plugin.limits.result_items), "GATEWAY_PLUGIN_NAME_RESULT_ITEMS",
            { reloadable: true };
        /// Maximum that one call may log, counted as it is written.
        log_bytes: usize as Bytes = Bytes(cx.plugin.limits.log_bytes), "GATEWAY_PLUGIN_NAME_LOG_BYTES", { reloadable: true };
        /// Maximum that all its calls together may log in a minute, counting whole lines.
        log_bytes_per_minute: usize as Bytes = Bytes(cx.plugin.limits.log_bytes_per_minute),
            "GATEWAY_PLUGIN_NAME_LOG_BYTES_PER_MINUTE", { reloadable: true };
        /// Maximum disk space for what it stores through the grant `key-value`.
        store_bytes: usize as Bytes = Bytes(cx.plugin.limits.store_bytes), "GATEWAY_PLUGIN_NAME_STORE_BYTES",
            { reloadable: true };
        /// Largest value that it can store.
        value_bytes: usize as Bytes = Bytes(cx.plugin.limits.value_bytes), "GATEWAY_PLUGIN_NAME_VALUE_BYTES",
            { reloadable: true };
    }
}

/// The memory limit of all plugins together. It grows with the number of threads that run them, since an interpreter
/// takes tens of megabytes for each call.
fn total_memory(guest_threads: usize) -> Bytes {
    let scaled = guest_threads.saturating_mul(DEFAULT_TOTAL_MEMORY / 2);
    Bytes(scaled.max(DEFAULT_TOTAL_MEMORY))
}

section! {
    /// Settings of all plugins.
    pub(in crate::config) struct Plugins(cx) "plugins" {
        /// Public Ed25519 keys, PEM files or PEM texts. If there are any, only plugins signed with one of them serve.
        trusted_keys: Option<Texts>, "GATEWAY_TRUSTED_KEYS", { reloadable: true };
        /// Whether to accept signatures that name neither the plugin nor its version, as earlier releases made them.
        allow_v1_signatures: bool = false, "GATEWAY_ALLOW_V1_SIGNATURES", { reloadable: true };
        /// Largest plugin file.
        max_size: u64 as Bytes = Bytes::of(CompileOptions::default().size), "GATEWAY_PLUGIN_MAX_SIZE", { min: Some("1KiB") };
        /// How long compiling one file may take, in a separate process; nothing else [waits for
        /// it](operations.md#how-the-gateway-starts).
        compile_time: Duration = CompileOptions::default().time, "GATEWAY_PLUGIN_COMPILE_TIME", { min: Some("1s") };
        /// The address space that one compiler may use; all compilers together may use [twice as
        /// much](operations.md#how-the-gateway-starts), or 2 GiB if that is more.
        compile_memory: u64 as Bytes = Bytes::of(CompileOptions::default().memory), "GATEWAY_PLUGIN_COMPILE_MEMORY",
            { min: Some("64MiB") };
        /// The memory for the calls of all plugins together. One plugin may use at most a quarter of it, but always enough for
        /// one call (`limits.memory`). Calls beyond it wait. Increase it on a large machine with interpreted plugins.
        total_memory: usize as Bytes = total_memory(cx.guest_threads) => "`256MiB` for each guest thread, at least `512MiB`",
            "GATEWAY_PLUGINS_TOTAL_MEMORY", { min: Some("64MiB"), reloadable: true };
    }
}
