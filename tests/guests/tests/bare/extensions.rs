//! Extensions: their hooks, and the hooks' answers.

use wasmtime::Result;

use super::providers::{identity, user};
use super::{Guest, User};

wasmtime::component::bindgen!({
    world: "extension",
    path: "../../wit",
    with: { "auth-gateway:plugin/types": crate::auth_gateway::plugin::types },
});

use crate::auth_gateway::plugin::types::{HookError, SignIn, SignOut};

type Verdict = Result<Vec<(String, String)>, HookError>;

/// The hooks' answers, and the log.
type Said = (Verdict, Verdict, Result<(), String>, Vec<String>);

fn sign_in(user: User) -> SignIn {
    SignIn {
        event_id: "e1".into(),
        at: 8,
        user,
        identity: identity(),
        claims: "{}".into(),
    }
}

impl Guest {
    /// All three hooks, each in the same instance.
    fn all_hooks(&self, user: &User) -> Result<Said> {
        let mut store = self.store();
        let hooks = Extension::instantiate(&mut store, &self.component, &self.linker)?;
        let event = sign_in(user.clone());
        let new = hooks
            .auth_gateway_plugin_on_new_user()
            .call_on_new_user(&mut store, &event)?;
        let login = hooks
            .auth_gateway_plugin_on_user_login()
            .call_on_user_login(&mut store, &event)?;
        let event = SignOut {
            event_id: "e2".into(),
            at: 9,
            user: user.clone(),
        };
        let logout = hooks
            .auth_gateway_plugin_on_user_logout()
            .call_on_user_logout(&mut store, &event)?;
        Ok((new, login, logout, store.into_data().log))
    }
}

fn attributes<const N: usize>(list: [(&str, &str); N]) -> Verdict {
    Ok(list
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into())
}

#[test]
fn counts() {
    let (new, login, logout, log) = Guest::load(test_guests::COUNT)
        .unwrap()
        .all_hooks(&user("Neo", "neo@example.org"))
        .unwrap();
    assert_eq!(new, attributes([("seen-on-new-user", "e1")]));
    assert_eq!(login, attributes([("seen-on-user-login", "e1")]));
    assert_eq!(logout, Ok(()));
    assert_eq!(
        log,
        [
            "Level::Info hook=on-new-user event=e1",
            "Level::Info hook=on-user-login event=e1",
            "Level::Info hook=on-user-logout event=e2",
        ]
    );
}

#[test]
fn rejects() {
    let guest = Guest::load(test_guests::REJECT).unwrap();
    let judged = |name: &str| guest.all_hooks(&user(name, "neo@example.org"));
    let (new, login, logout, _) = judged("Neo").unwrap();
    assert_eq!(new, attributes([("reject-saw", "on-new-user")]));
    assert_eq!(login, attributes([("reject-saw", "on-user-login")]));
    assert_eq!(logout, Ok(()));
    let rejected = |sentence: &str| Err(HookError::Rejected(sentence.to_owned()));
    let (new, login, logout, _) = judged("reject me").unwrap();
    assert_eq!(new, rejected("Rejected by on-new-user: reject me"));
    assert_eq!(login, rejected("Rejected by on-user-login: reject me"));
    assert_eq!(logout, Ok(()));
    let (new, login, _, _) = judged("refuse-login").unwrap();
    assert!(new.is_ok());
    assert_eq!(login, rejected("Rejected by on-user-login: refuse-login"));
    let (new, login, logout, _) = judged("unavailable").unwrap();
    assert!(matches!(
        (new, login),
        (Err(HookError::Unavailable(_)), Err(HookError::Unavailable(_)))
    ));
    assert!(logout.is_err());
    let (new, login, logout, _) = judged("later-login").unwrap();
    assert!(new.is_ok() && matches!(login, Err(HookError::Unavailable(_))) && logout.is_ok());
    let (new, login, logout, _) = judged("later-logout").unwrap();
    assert!(new.is_ok() && login.is_ok() && logout.is_err());
    let cause = |name| judged(name).unwrap_err().root_cause().to_string();
    assert_eq!(
        cause("trap"),
        "wasm trap: wasm `unreachable` instruction executed"
    );
    assert_eq!(cause("spin"), "wasm trap: all fuel consumed by WebAssembly");
    assert!(
        guest
            .all_hooks(&user("Neo", "reject@example.org"))
            .unwrap()
            .0
            .is_err()
    );
}

#[test]
fn has_one_hook_of_three() {
    let guest = Guest::load(test_guests::LOGIN_ONLY).unwrap();
    assert!(guest.all_hooks(&user("Neo", "neo@example.org")).is_err());
    let exports: Vec<_> = guest
        .component
        .component_type()
        .exports(guest.component.engine())
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(exports, ["auth-gateway:plugin/on-user-login@1.0.0"]);
}
