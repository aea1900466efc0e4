//! Providers: each answers or fails as its comment says.

use wasmtime::{Result, Store};

use super::{Guest, Host, User};

wasmtime::component::bindgen!({
    world: "provider",
    path: "../../wit",
    with: { "auth-gateway:plugin/types": crate::auth_gateway::plugin::types },
});

use crate::auth_gateway::plugin::types::{Identity, Permission, Value};
use exports::auth_gateway::plugin::permission_provider::ProviderError;

type Answer = Result<Vec<Permission>, ProviderError>;

impl Guest {
    /// Asks a fresh instance.
    pub(super) fn ask(&self, service: &str) -> Result<Answer> {
        self.ask_in(&mut self.store(), service)
    }

    pub(super) fn ask_in(&self, store: &mut Store<Host>, service: &str) -> Result<Answer> {
        let instance = Provider::instantiate(&mut *store, &self.component, &self.linker)?;
        instance
            .auth_gateway_plugin_permission_provider()
            .call_get_permissions(store, service, "a-user")
    }

    /// Asks one instance twice, and returns the second answer.
    fn ask_a_used_instance(&self, service: &str) -> Result<Answer> {
        let mut answers = self.ask_one_instance(service, &["somebody-else", "a-user"]);
        answers.pop().expect("there are two")
    }

    /// Asks one instance about each user in turn.
    pub(super) fn ask_one_instance(&self, service: &str, users: &[&str]) -> Vec<Result<Answer>> {
        let mut store = self.store();
        let instance = Provider::instantiate(&mut store, &self.component, &self.linker).expect("it starts");
        let provider = instance.auth_gateway_plugin_permission_provider();
        users
            .iter()
            .map(|user| provider.call_get_permissions(&mut store, service, user))
            .collect()
    }
}

/// The answer as `name=value`, and so on.
pub(super) fn shown(answer: Result<Answer>) -> String {
    let permissions = answer.expect("the guest trapped").expect("an error answer");
    let values = permissions
        .into_iter()
        .map(|Permission { name, value }| match value {
            Value::Boolean(value) => format!("{name}={value}"),
            Value::Integer(value) => format!("{name}={value}"),
            Value::Number(value) => format!("{name}={value:?}"),
            Value::Text(value) | Value::Json(value) => format!("{name}={value}"),
        });
    values.collect::<Vec<_>>().join(" ")
}

/// The last cause of a trap.
pub(super) fn cause(answer: Result<Answer>) -> String {
    answer
        .expect_err("the guest was to trap")
        .root_cause()
        .to_string()
}

#[test]
fn answers() {
    let guest = Guest::load(test_guests::BEHAVE).unwrap();
    assert_eq!(shown(guest.ask("ok")), "service=ok user=a-user");
    assert_eq!(
        shown(guest.ask("all-values")),
        "boolean=true integer=-9007199254740993 number=0.5 text=naïve 🦀 \"quoted\" json= {\"list\": [1, null, \"a\"]} "
    );
    assert_eq!(shown(guest.ask("nan")), "number=NaN");
    assert_eq!(shown(guest.ask("infinity")), "number=inf");
    assert_eq!(shown(guest.ask("bad-json")), "json={\"a\": ");
    assert_eq!(shown(guest.ask("duplicate")), "twice=first twice=second");
    assert_eq!(shown(guest.ask("empty-name")), "=");
    assert_eq!(shown(guest.ask("control-name")), "line\nbreak=");
    assert!(shown(guest.ask("deep-json")).ends_with(&"]".repeat(10_000)));
    assert!(matches!(
        guest.ask("error-failed").unwrap(),
        Err(ProviderError::Failed(_))
    ));
    assert!(matches!(
        guest.ask("error-unavailable").unwrap(),
        Err(ProviderError::Unavailable(_))
    ));
    assert!(matches!(
        guest.ask("no such").unwrap(),
        Err(ProviderError::Failed(_))
    ));

    for (guest, version) in [(test_guests::V1, 1), (test_guests::V2, 2)] {
        let answer = shown(Guest::load(guest).unwrap().ask("s"));
        assert_eq!(
            answer,
            format!("version={version} digest-hint=v{version} service=s user=a-user also={version}")
        );
    }
    assert_eq!(shown(Guest::load(test_guests::PLAIN).unwrap().ask("s")), "");
}

#[test]
fn exhausts_what_it_says() {
    let guest = Guest::load(test_guests::BEHAVE).unwrap();
    assert_eq!(
        cause(guest.ask("spin")),
        "wasm trap: all fuel consumed by WebAssembly"
    );
    assert_eq!(
        cause(guest.ask("trap")),
        "wasm trap: wasm `unreachable` instruction executed"
    );
    assert_eq!(cause(guest.ask("recurse")), "wasm trap: call stack exhausted");
    assert_eq!(
        cause(guest.ask("bomb-trap")),
        "wasm trap: wasm `unreachable` instruction executed"
    );
    let pages: u32 = shown(guest.ask("bomb"))
        .strip_prefix("pages=")
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (200..=256).contains(&pages),
        "{pages} of the 256 pages that one memory may have"
    );
}

/// wasmtime itself limits what a guest passes to the host (`set_hostcall_fuel`, 128 MiB by default).
#[test]
fn returns_too_much() {
    let guest = Guest::load(test_guests::BEHAVE).unwrap();
    let mut store = guest.store();
    store.data_mut().limits = wasmtime::StoreLimits::default();
    store.set_fuel(u64::MAX).unwrap();
    store.set_hostcall_fuel(1 << 20);
    for service in ["huge-list", "huge-text", "huge-name"] {
        let cause = cause(guest.ask_in(&mut store, service));
        assert!(
            cause.contains("fuel allocated for hostcalls has been exhausted"),
            "{service}: {cause}"
        );
    }
}

#[test]
fn sees_nothing_of_its_surroundings() {
    let guest = Guest::load(test_guests::BEHAVE).unwrap();
    assert_eq!(shown(guest.ask("env")), "variables=0 arguments=0 input=0 opened=");

    // The control: the guest does see what exists.
    let mut store = guest.store();
    store.data_mut().wasi = wasmtime_wasi::WasiCtx::builder()
        .env("SECRET", "1")
        .arg("argument")
        .preopened_dir(".", ".", wasmtime_wasi::FsPerms::ReadOnly)
        .unwrap()
        .build();
    let answer = shown(guest.ask_in(&mut store, "env"));
    assert_eq!(answer, "variables=1 arguments=1 input=0 opened=/, ., Cargo.toml");
}

/// The control for the tests of fresh instances: a used instance does hold something.
#[test]
fn finds_what_it_planted_in_a_used_instance() {
    let guest = Guest::load(test_guests::BEHAVE).unwrap();
    assert_eq!(shown(guest.ask("plant")), "calls=0 found= last= pages=");
    let used = shown(guest.ask_a_used_instance("plant"));
    assert_eq!(
        used,
        "calls=1 found=somebody-else last=somebody-else pages=somebody-else"
    );

    let guest = Guest::load(test_guests::PLANT).unwrap();
    assert_eq!(shown(guest.ask("s")), "found=0");
    assert_eq!(shown(guest.ask_a_used_instance("s")), "found=5");
}

#[test]
fn asks_the_gateway() {
    let guest = Guest::load(test_guests::IMPORTS_CONFIG).unwrap();
    let mut store = guest.store();
    store.data_mut().settings = vec![("a".into(), "1".into()), ("b".into(), "2".into())];
    assert_eq!(shown(guest.ask_in(&mut store, "b")), "a=1 b=2 get:b=2");
    assert_eq!(shown(guest.ask("b")), "get:b=null");

    let guest = Guest::load(test_guests::IMPORTS_USERS).unwrap();
    let mut store = guest.store();
    store.data_mut().user = Some(user("Neo", "neo@example.org"));
    assert_eq!(shown(guest.ask_in(&mut store, "other:nobody")), "known=false");
    assert_eq!(
        shown(guest.ask_in(&mut store, "s")),
        "known=true id=a-user name=Neo username=null email=neo@example.org avatar-url=null joined=7 \
         identities=dev|https://dev.example|neo attributes=team=red"
    );

    let guest = Guest::load(test_guests::IMPORTS_LOGGING).unwrap();
    let mut store = guest.store();
    assert_eq!(shown(guest.ask_in(&mut store, "hello")), "");
    assert_eq!(
        store.data().log,
        [
            "Level::Debug hello",
            "Level::Info hello",
            "Level::Warn hello",
            "Level::Error hello"
        ]
    );
    let _ = guest.ask_in(&mut store, "flood");
    assert_eq!(store.data().log.len(), 1000);
}

/// A user with the id that the tests ask about.
pub(super) fn user(name: &str, email: &str) -> User {
    User {
        id: "a-user".into(),
        username: None,
        name: name.into(),
        email: Some(email.into()),
        email_trusted: true,
        avatar_url: None,
        identities: vec![identity()],
        joined: 7,
        attributes: vec![("team".into(), "red".into())],
    }
}

/// The identity of that user.
pub(super) fn identity() -> Identity {
    Identity {
        provider: "dev".into(),
        issuer: "https://dev.example".into(),
        subject: "neo".into(),
    }
}
