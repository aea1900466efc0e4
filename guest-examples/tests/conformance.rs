//! Runs the cases of `conformance.json` against every role provider. All of them must return the same answers, whatever
//! their language.
//!
//! The Rust one is always built. `./build` builds the others, and the variable `GUEST_COMPONENTS` has their files,
//! separated by `:`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "this is a test, its helpers included"
)]
#![allow(
    missing_docs,
    reason = "the generated bindings have none for what the WIT does not describe"
)]

#[path = "support/host.rs"]
mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::{env, fs};

use guest_examples::ROLES;
use host::provider::exports::auth_gateway::plugin::permission_provider::ProviderError;
use host::provider::{Provider, ProviderPre};
use host::types::{Identity, Permission, User, Value};
use host::{Host, linker};
use serde::Deserialize;
use serde_json::{Map, Number, Value as Json};
use wasmtime::component::Component;
use wasmtime::{Config, Engine, OptLevel, Store, StoreLimitsBuilder};

/// The gateway's default fuel, so that every case also shows that a provider can manage with it.
const FUEL: u64 = 100_000_000;
const MEMORY: usize = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    settings: BTreeMap<String, String>,
    users: Vec<Somebody>,
    service: String,
    user_id: String,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Somebody {
    id: String,
    username: Option<String>,
    name: String,
    email: Option<String>,
    email_trusted: bool,
    identities: Vec<Somewhere>,
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Somewhere {
    provider: String,
    issuer: String,
    subject: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Expected {
    /// Names and JSON values.
    Permissions { permissions: Map<String, Json> },
    /// The kind of error, and its text unless the provider may choose it.
    Error { error: Kind, sentence: Option<String> },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Failed,
    Unavailable,
    /// The provider answers, but the gateway does not sign the answer, because a value is not JSON.
    Invalid,
}

#[derive(Debug)]
enum Answer {
    Permissions(Map<String, Json>),
    Error(Kind, String),
}

impl Expected {
    fn is(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Permissions { permissions }, Answer::Permissions(answered)) => permissions == answered,
            (Self::Error { error, sentence }, Answer::Error(kind, said)) => {
                error == kind && sentence.as_ref().is_none_or(|sentence| sentence == said)
            }
            _ => false,
        }
    }
}

impl From<&Somebody> for User {
    fn from(somebody: &Somebody) -> Self {
        let identity = |identity: &Somewhere| Identity {
            provider: identity.provider.clone(),
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
        };
        Self {
            id: somebody.id.clone(),
            username: somebody.username.clone(),
            name: somebody.name.clone(),
            email: somebody.email.clone(),
            email_trusted: somebody.email_trusted,
            avatar_url: None,
            identities: somebody.identities.iter().map(identity).collect(),
            joined: 1_700_000_000,
            attributes: somebody.attributes.clone().into_iter().collect(),
        }
    }
}

/// A compiled component, its imports found.
struct Subject {
    name: String,
    engine: Engine,
    provider: ProviderPre<Host>,
}

impl Subject {
    fn new(name: &str, wasm: &[u8]) -> Self {
        let mut config = Config::new();
        config
            .consume_fuel(true)
            // The larger components contain an interpreter. Optimizing it takes longer than running all cases.
            .cranelift_opt_level(OptLevel::None)
            // The gateway's engine rejects these too.
            .wasm_exceptions(false)
            .wasm_function_references(false)
            .wasm_gc(false)
            .wasm_memory64(false)
            .wasm_relaxed_simd(false)
            .wasm_threads(false);
        let engine = Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, wasm)
            .unwrap_or_else(|error| panic!("{name} is not a component: {error:?}"));
        only_imports_what_it_is_granted(name, &component);
        let provider = linker(&engine)
            .and_then(|linker| ProviderPre::new(linker.instantiate_pre(&component)?))
            .unwrap_or_else(|error| panic!("{name} does not fit the world `provider`: {error:?}"));
        Self {
            name: name.to_owned(),
            engine,
            provider,
        }
    }

    /// Asks a fresh instance, and returns the answer and the fuel that it used.
    fn ask(&self, case: &Case) -> Result<(Answer, u64), String> {
        let users = case.users.iter().map(User::from).collect();
        let mut host = Host::new(case.settings.clone().into_iter().collect(), users);
        host.limits = StoreLimitsBuilder::new().memory_size(MEMORY).build();
        let mut store = Store::new(&self.engine, host);
        store.limiter(|host| &mut host.limits);
        store.set_fuel(FUEL).unwrap();
        let answer = self
            .provider
            .instantiate(&mut store)
            .and_then(|provider: Provider| {
                provider
                    .auth_gateway_plugin_permission_provider()
                    .call_get_permissions(&mut store, &case.service, &case.user_id)
            })
            .map_err(|error| format!("{error:?}"))?;
        let answer = match answer {
            Ok(permissions) => signed(permissions)?,
            Err(ProviderError::Failed(sentence)) => Answer::Error(Kind::Failed, sentence),
            Err(ProviderError::Unavailable(sentence)) => Answer::Error(Kind::Unavailable, sentence),
        };
        Ok((answer, FUEL - store.get_fuel().unwrap()))
    }

    /// Runs every case, and fails with all differences.
    fn conforms(&self) {
        let cases = cases();
        let count = cases.len();
        let (mut wrong, mut dearest) = (Vec::new(), (0, String::new()));
        for case in cases {
            match self.ask(&case) {
                Ok((answer, fuel)) if case.expect.is(&answer) => dearest = dearest.max((fuel, case.name)),
                Ok((answer, _)) => wrong.push(format!(
                    "{}:\n  expected {:?}\n  answered {answer:?}",
                    case.name, case.expect
                )),
                Err(failure) => wrong.push(format!("{}:\n  {failure}", case.name)),
            }
        }
        assert!(
            wrong.is_empty(),
            "{}: {} of {count} cases differ\n{}",
            self.name,
            wrong.len(),
            wrong.join("\n")
        );
        eprintln!(
            "{}: {count} cases; the dearest, `{}`, took {} units of fuel",
            self.name, dearest.1, dearest.0
        );
    }
}

/// The answer as in the token.
fn signed(permissions: Vec<Permission>) -> Result<Answer, String> {
    let mut signed = Map::new();
    for Permission { name, value } in permissions {
        let value = match value {
            Value::Boolean(value) => Json::Bool(value),
            Value::Integer(value) => Json::Number(value.into()),
            Value::Number(value) => Number::from_f64(value)
                .map(Json::Number)
                .ok_or_else(|| format!("the permission `{name}` is {value}, which JSON cannot say"))?,
            Value::Text(text) => Json::String(text),
            Value::Json(text) => match serde_json::from_str(&text) {
                Ok(value) => value,
                Err(error) => return Ok(Answer::Error(Kind::Invalid, format!("{name}: {error}"))),
            },
        };
        if signed.insert(name.clone(), value).is_some() {
            return Err(format!("the permission `{name}` comes twice"));
        }
    }
    Ok(Answer::Permissions(signed))
}

fn only_imports_what_it_is_granted(name: &str, component: &Component) {
    for (import, _) in component.component_type().imports(component.engine()) {
        let granted = [
            "auth-gateway:plugin/config@1.0.0",
            "auth-gateway:plugin/types@1.0.0",
            "auth-gateway:plugin/users@1.0.0",
        ];
        assert!(
            import.starts_with("wasi:") || granted.contains(&import),
            "{name} imports {import}, which a role provider has no grant for"
        );
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../conformance.json"))
        .unwrap_or_else(|error| panic!("conformance.json: {error}"))
}

#[test]
fn case_names_are_unique() {
    let cases = cases();
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len());
}

#[test]
fn rust() {
    Subject::new("rust", ROLES.wasm).conforms();
}

#[test]
fn other_languages() {
    #[expect(
        clippy::disallowed_methods,
        reason = "which files to test is for whoever runs the test to say"
    )]
    let Ok(paths) = env::var("GUEST_COMPONENTS") else {
        eprintln!("GUEST_COMPONENTS is not set: only the Rust component is tested");
        return;
    };
    for path in paths.split(':').filter(|path| !path.is_empty()) {
        let wasm = fs::read(path).unwrap_or_else(|error| panic!("GUEST_COMPONENTS: {path}: {error}"));
        Subject::new(path, &wasm).conforms();
    }
}
