//! Runs the compiled examples in a bare runtime, and compares their imports and answers with their READMEs.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is a test, its helpers included"
)]
#![allow(
    missing_docs,
    reason = "the generated bindings have none for what the WIT does not describe"
)]

#[path = "support/host.rs"]
mod host;

use std::collections::BTreeSet;

use guest_examples::{ALL, CONNECTED, EMAIL_DOMAINS, EXAMPLE, Example, ROLES};
use host::provider::Provider;
use host::provider::exports::auth_gateway::plugin::permission_provider::ProviderError;
use host::types::{HookError, Identity, Permission, SignIn, User, Value};
use host::{Host, linker};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Result, Store};

mod hooks {
    wasmtime::component::bindgen!({
        inline: r#"
            package test:examples;
            world hooks {
                export auth-gateway:plugin/on-new-user@1.0.0;
                export auth-gateway:plugin/on-user-login@1.0.0;
            }
        "#,
        path: "../wit",
        with: { "auth-gateway:plugin/types": crate::host::imports::auth_gateway::plugin::types },
    });
}

type Parts = (Store<Host>, Component, Linker<Host>);

/// An example, ready to be instantiated with these settings and for this user.
fn load(example: Example, settings: &[(&str, &str)], user: User) -> Result<Parts> {
    let engine = Engine::default();
    let settings = settings
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let host = Host::new(settings.collect(), vec![user]);
    let linker = linker(&engine)?;
    let component = Component::from_binary(&engine, example.wasm)?;
    Ok((Store::new(&engine, host), component, linker))
}

fn neo() -> User {
    User {
        id: "0123456789abcdef0123456789abcdef".into(),
        username: Some("neo".into()),
        name: "Neo".into(),
        email: Some("neo@Example.org".into()),
        email_trusted: true,
        avatar_url: None,
        identities: vec![identity()],
        joined: 1,
        attributes: vec![("email-domain".into(), "example.org".into())],
    }
}

fn identity() -> Identity {
    Identity {
        provider: "google".into(),
        issuer: "https://accounts.google.com".into(),
        subject: "1".into(),
    }
}

/// Asks a provider for Neo's permissions, and returns them as `name=value`, or the error.
fn ask(example: Example, settings: &[(&str, &str)], service: &str) -> Result<Vec<String>, String> {
    let (mut store, component, linker) = load(example, settings, neo()).unwrap();
    let provider = Provider::instantiate(&mut store, &component, &linker).unwrap();
    let answer = provider
        .auth_gateway_plugin_permission_provider()
        .call_get_permissions(&mut store, service, &neo().id)
        .unwrap();
    let shown = |Permission { name, value }: Permission| match value {
        Value::Boolean(value) => format!("{name}={value}"),
        Value::Integer(value) => format!("{name}={value}"),
        Value::Number(value) => format!("{name}={value:?}"),
        Value::Text(value) => format!("{name}={value:?}"),
        Value::Json(value) => format!("{name}={value}"),
    };
    match answer {
        Ok(permissions) => Ok(permissions.into_iter().map(shown).collect()),
        Err(ProviderError::Failed(sentence) | ProviderError::Unavailable(sentence)) => Err(sentence),
    }
}

#[test]
fn import_what_their_grants_allow() {
    for example in ALL.iter().chain(CONNECTED) {
        let (_, component, _) = load(*example, &[], neo()).unwrap();
        let engine = component.engine();
        let needed: BTreeSet<_> = component
            .component_type()
            .imports(engine)
            .filter_map(|(name, _)| {
                if name.starts_with("wasi:http/") {
                    return Some("http".to_owned());
                }
                let ours = name.strip_prefix("auth-gateway:plugin/")?;
                Some(ours.strip_suffix("@1.0.0")?.to_owned())
            })
            .filter(|interface| interface != "types")
            .collect();
        let granted: BTreeSet<_> = example.grants.iter().map(ToString::to_string).collect();
        assert_eq!(needed, granted, "{}", example.name);
    }
}

#[test]
fn example_answers_like_the_sample() {
    assert_eq!(
        ask(EXAMPLE, &[], "example"),
        Ok(vec![
            "provider-token=\"example-0123456789abcdef0123456789abcdef\"".to_owned()
        ])
    );
}

#[test]
fn roles_come_from_the_settings() {
    let settings = [
        ("role.reader", "read, quota=10"),
        ("role.editor", "wiki:edit, quota=100, tags=[\"a\",\"b\"]"),
        ("default", "reader"),
        ("attribute.email-domain=example.org", "editor"),
        ("list-roles-as", "roles"),
    ];
    let texts = |texts: &[&str]| Ok(texts.iter().map(|text| text.to_string()).collect::<Vec<_>>());
    assert_eq!(
        ask(ROLES, &settings, "wiki"),
        texts(&[
            "edit=true",
            "quota=100",
            "read=true",
            "roles=[\"editor\",\"reader\"]",
            "tags=[\"a\",\"b\"]"
        ])
    );
    assert_eq!(
        ask(ROLES, &settings, "shop"),
        texts(&[
            "quota=100",
            "read=true",
            "roles=[\"editor\",\"reader\"]",
            "tags=[\"a\",\"b\"]"
        ])
    );
    assert_eq!(ask(ROLES, &[], "shop"), texts(&[]));
    assert_eq!(
        ask(ROLES, &[("default", "staff")], "shop"),
        Err("setting `default`: there is no role `staff`; define it by a setting `role.staff`".to_owned())
    );
}

type Verdict = Result<Vec<(String, String)>, HookError>;

/// The answers of both hooks.
fn sign_in(settings: &[(&str, &str)], user: User) -> Verdict {
    let (mut store, component, linker) = load(EMAIL_DOMAINS, settings, user.clone()).unwrap();
    let event = SignIn {
        event_id: "e".into(),
        at: 1,
        user,
        identity: identity(),
        claims: "{}".into(),
    };
    let hooks = hooks::Hooks::instantiate(&mut store, &component, &linker).unwrap();
    let new = hooks
        .auth_gateway_plugin_on_new_user()
        .call_on_new_user(&mut store, &event)
        .unwrap();
    let login = hooks
        .auth_gateway_plugin_on_user_login()
        .call_on_user_login(&mut store, &event)
        .unwrap();
    assert_eq!(login, new);
    new
}

#[test]
fn email_domains_admits_and_rejects() {
    let settings = [("domains", "example.org")];
    let verdict = sign_in(&settings, neo());
    assert_eq!(
        verdict,
        Ok(vec![("email-domain".to_owned(), "example.org".to_owned())])
    );

    let verdict = sign_in(
        &settings,
        User {
            email: Some("m@evil.example".into()),
            ..neo()
        },
    );
    assert_eq!(
        verdict,
        Err(HookError::Rejected(
            "Only users with an address at example.org can sign in here, and yours is m@evil.example."
                .to_owned()
        ))
    );

    // With invalid settings nobody is admitted, and the log says why.
    let Err(HookError::Unavailable(why)) = sign_in(&[("domain", "example.org")], neo()) else {
        panic!("there is a verdict")
    };
    assert!(
        why.starts_with("there is no setting `domain`; the settings are"),
        "{why}"
    );
}
