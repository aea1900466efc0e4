//! Runs the compiled examples in a bare runtime: what they import, and that they answer what their
//! READMEs say.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "this is a test, its helpers included"
)]
#![allow(
    missing_docs,
    reason = "the generated bindings have none for what the WIT does not describe"
)]

use guest_examples::{ALL, EMAIL_DOMAINS, EXAMPLE, Example, ROLES};
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

pub mod imports {
    wasmtime::component::bindgen!({
        inline: r#"
            package test:examples;
            world imports {
                import auth-gateway:plugin/config@0.1.0;
                import auth-gateway:plugin/users@0.1.0;
            }
        "#,
        path: "../wit",
    });
}

mod provider {
    wasmtime::component::bindgen!({
        world: "provider",
        path: "../wit",
        with: { "auth-gateway:plugin/types": crate::imports::auth_gateway::plugin::types },
    });
}

mod hooks {
    wasmtime::component::bindgen!({
        inline: r#"
            package test:examples;
            world hooks {
                export auth-gateway:plugin/on-new-user@0.1.0;
                export auth-gateway:plugin/on-user-login@0.1.0;
            }
        "#,
        path: "../wit",
        with: { "auth-gateway:plugin/types": crate::imports::auth_gateway::plugin::types },
    });
}

use imports::auth_gateway::plugin::{config, types, users};
use provider::exports::auth_gateway::plugin::permission_provider::ProviderError;
use types::{Identity, Permission, SignIn, User, Value};

/// What a guest's imports come from.
struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
    stderr: MemoryOutputPipe,
    settings: Vec<(String, String)>,
    user: User,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl config::Host for Host {
    fn get(&mut self, key: String) -> Option<String> {
        self.settings
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.clone())
    }

    fn all(&mut self) -> Vec<(String, String)> {
        self.settings.clone()
    }
}

impl types::Host for Host {}

impl users::Host for Host {
    fn get(&mut self, id: String) -> Option<User> {
        Some(self.user.clone()).filter(|user| user.id == id)
    }
}

type Parts = (Store<Host>, Component, Linker<Host>);

/// An example, ready to be instantiated with these settings and for this user.
fn load(example: Example, settings: &[(&str, &str)], user: User) -> Result<Parts> {
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    imports::Imports::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)?;
    let stderr = MemoryOutputPipe::new(64 << 10);
    let host = Host {
        wasi: WasiCtx::builder().stderr(stderr.clone()).build(),
        table: ResourceTable::new(),
        stderr,
        settings: settings
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        user,
    };
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

/// Asks a provider what Neo may do, and gives its permissions as `name=value`, or its error.
fn ask(example: Example, settings: &[(&str, &str)], service: &str) -> Result<Vec<String>, String> {
    let (mut store, component, linker) = load(example, settings, neo()).unwrap();
    let provider = provider::Provider::instantiate(&mut store, &component, &linker).unwrap();
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
    for example in ALL {
        let (_, component, _) = load(*example, &[], neo()).unwrap();
        let engine = component.engine();
        let ours: Vec<_> = component
            .component_type()
            .imports(engine)
            .filter_map(|(name, _)| {
                Some(
                    name.strip_prefix("auth-gateway:plugin/")?
                        .strip_suffix("@0.1.0")?
                        .to_owned(),
                )
            })
            .filter(|interface| interface != "types")
            .collect();
        assert_eq!(ours, example.grants, "{}", example.name);
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

type Verdict = Result<Vec<(String, String)>, String>;

/// What both hooks say of a user, and what the guest wrote to its standard error.
fn sign_in(settings: &[(&str, &str)], user: User) -> (Result<Verdict>, String) {
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
        .call_on_new_user(&mut store, &event);
    if let Ok(new) = &new {
        let login = hooks
            .auth_gateway_plugin_on_user_login()
            .call_on_user_login(&mut store, &event)
            .unwrap();
        assert_eq!(&login, new);
    }
    let stderr = String::from_utf8(store.data().stderr.contents().into()).unwrap();
    (new, stderr)
}

#[test]
fn email_domains_lets_in_and_turns_away() {
    let settings = [("domains", "example.org")];
    let (verdict, _) = sign_in(&settings, neo());
    assert_eq!(
        verdict.unwrap(),
        Ok(vec![("email-domain".to_owned(), "example.org".to_owned())])
    );

    let (verdict, _) = sign_in(
        &settings,
        User {
            email: Some("m@evil.example".into()),
            ..neo()
        },
    );
    assert_eq!(
        verdict.unwrap(),
        Err(
            "Only people with an address at example.org can sign in here, and you came as m@evil.example."
                .to_owned()
        )
    );

    // Without settings that make sense nobody is let in, and the log says why.
    let (verdict, stderr) = sign_in(&[("domain", "example.org")], neo());
    assert!(verdict.is_err());
    assert!(
        stderr.contains("there is no setting `domain`: they are"),
        "{stderr}"
    );
}
