//! Runs `stored-roles` in a bare runtime with a visible store: what its hook stores for events in any order, and what
//! its provider answers.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "this is a test, its helpers included"
)]
#![allow(
    missing_docs,
    reason = "the generated bindings have none for what the WIT does not describe"
)]

#[path = "support/host.rs"]
mod host;

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use guest_examples::STORED_ROLES;
use host::types::{HookError, Identity, Permission, SignIn, User};
use host::{Host, Values, linker};
use plugin::exports::auth_gateway::plugin::permission_provider::ProviderError;
use wasmtime::component::Component;
use wasmtime::{Engine, Store};

mod plugin {
    wasmtime::component::bindgen!({
        inline: r#"
            package test:stored-roles;
            world plugin {
                export auth-gateway:plugin/permission-provider@1.0.0;
                export auth-gateway:plugin/on-user-login@1.0.0;
            }
        "#,
        path: "../wit",
        with: { "auth-gateway:plugin/types": crate::host::imports::auth_gateway::plugin::types },
    });
}

const SETTINGS: &[(&str, &str)] = &[
    ("providers", "company"),
    ("role.editor", "edit"),
    ("role.reader", "read"),
    ("group.editors", "editor"),
    ("group.staff", "reader"),
];

/// The component with its stored values.
struct Plugin {
    component: Component,
    values: Values,
}

impl Plugin {
    fn new() -> Self {
        static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);
        Self {
            component: Component::from_binary(&ENGINE, STORED_ROLES.wasm).unwrap(),
            values: Values::default(),
        }
    }

    /// An instance for one call, as in the gateway.
    fn instance(&self) -> (Store<Host>, plugin::Plugin) {
        let settings = SETTINGS
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let host = Host::new(settings.collect(), Vec::new()).keeping(&self.values);
        let engine = self.component.engine();
        let mut store = Store::new(engine, host);
        let instance =
            plugin::Plugin::instantiate(&mut store, &self.component, &linker(engine).unwrap()).unwrap();
        (store, instance)
    }

    /// Neo signs in with these groups. Returns the error of the hook, if any.
    fn sign_in(&self, at: u64, provider: &str, groups: &str) -> Result<(), String> {
        let (mut store, instance) = self.instance();
        let identity = Identity {
            provider: provider.into(),
            issuer: "https://login.example.org".into(),
            subject: "1".into(),
        };
        let event = SignIn {
            event_id: "e".into(),
            at,
            user: User {
                id: NEO.into(),
                username: None,
                name: "Neo".into(),
                email: None,
                email_trusted: false,
                avatar_url: None,
                identities: vec![identity.clone()],
                joined: 1,
                attributes: Vec::new(),
            },
            identity,
            claims: format!(r#"{{"sub": "1", "groups": {groups}}}"#),
        };
        let hook = instance.auth_gateway_plugin_on_user_login();
        let attributes = hook.call_on_user_login(&mut store, &event).unwrap();
        attributes
            .map(|attributes| assert_eq!(attributes, Vec::new()))
            .map_err(|error| match error {
                HookError::Unavailable(why) => why,
                HookError::Rejected(_) => "a verdict on somebody who has done nothing wrong".to_owned(),
            })
    }

    /// Neo's permissions in `wiki`.
    fn ask(&self) -> Result<Vec<String>, ProviderError> {
        let (mut store, instance) = self.instance();
        let provider = instance.auth_gateway_plugin_permission_provider();
        let answer = provider.call_get_permissions(&mut store, "wiki", NEO).unwrap();
        let name = |Permission { name, .. }: Permission| name;
        answer.map(|permissions| permissions.into_iter().map(name).collect())
    }

    fn may(&self) -> Vec<String> {
        self.ask().unwrap()
    }
}

const NEO: &str = "0123456789abcdef0123456789abcdef";

/// Seconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the guest asks the same clock")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn the_latest_sign_in_counts_in_whatever_order_they_are_delivered() {
    let plugin = Plugin::new();
    assert!(plugin.may().is_empty(), "nobody who has not signed in");
    let now = now();
    plugin
        .sign_in(now - 100, "company", r#"["editors", "staff"]"#)
        .unwrap();
    assert_eq!(plugin.may(), ["edit", "read"]);
    plugin.sign_in(now - 50, "company", r#"["staff"]"#).unwrap();
    assert_eq!(plugin.may(), ["read"]);
    // Delivered again, after a crash.
    plugin
        .sign_in(now - 100, "company", r#"["editors", "staff"]"#)
        .unwrap();
    assert_eq!(plugin.may(), ["read"]);
    assert_eq!(plugin.values.lock().unwrap().len(), 1, "the others are forgotten");
    // No group at all counts too.
    plugin.sign_in(now - 20, "company", "[]").unwrap();
    assert!(plugin.may().is_empty());
}

#[test]
fn stored_groups_expire() {
    let plugin = Plugin::new();
    let now = now();
    plugin
        .sign_in(now - 14 * 86_400, "company", r#"["staff"]"#)
        .unwrap();
    assert!(plugin.values.lock().unwrap().is_empty(), "it is over already");
    plugin.sign_in(now - 86_400, "company", r#"["staff"]"#).unwrap();
    let values = Arc::clone(&plugin.values);
    let lifetimes: Vec<_> = values
        .lock()
        .unwrap()
        .values()
        .map(|(_, lifetime)| *lifetime)
        .collect();
    assert!(
        lifetimes
            .iter()
            .all(|lifetime| lifetime.is_some_and(|seconds| seconds <= 13 * 86_400))
    );
    assert_eq!(lifetimes.len(), 1);
}

#[test]
fn groups_of_other_providers_are_ignored() {
    let plugin = Plugin::new();
    for provider in ["another", "comp", "company/", ""] {
        plugin.sign_in(now(), provider, r#"["editors"]"#).unwrap();
    }
    assert!(plugin.may().is_empty());
    assert!(plugin.values.lock().unwrap().is_empty());
}

#[test]
fn invalid_groups_fail_the_sign_in() {
    let plugin = Plugin::new();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for groups in ["1", r#"{"editors": true}"#, r#"["editors", 1]"#, "[", &deep] {
        let said = plugin.sign_in(now(), "company", groups).unwrap_err();
        assert!(said.contains("the claim"), "{said}");
    }
    assert!(plugin.values.lock().unwrap().is_empty());
}

#[test]
fn unreadable_groups_are_an_error_until_the_next_sign_in() {
    let plugin = Plugin::new();
    plugin.sign_in(now() - 10, "company", r#"["editors"]"#).unwrap();
    for (value, _) in plugin.values.lock().unwrap().values_mut() {
        value.truncate(5);
    }
    assert!(matches!(plugin.ask(), Err(ProviderError::Failed(_))));
    plugin.sign_in(now(), "company", r#"["staff"]"#).unwrap();
    assert_eq!(plugin.may(), ["read"]);
}
