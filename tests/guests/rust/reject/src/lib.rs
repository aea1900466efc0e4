//! An extension that rejects people, has no verdict, traps or never ends, depending on their name or address.
//!
//! | the name or the address contains | what happens |
//! |---|---|
//! | `reject` | `Rejected by on-new-user: <name>`, or `… by on-user-login: …` |
//! | `refuse-login` | accepted as a new user, rejected by `on-user-login` |
//! | `unavailable` | no verdict, with a line break, a terminal sequence and 10,000 letters; also at sign-out |
//! | `later-login` | accepted as a new user, no verdict by `on-user-login` |
//! | `later-logout` | accepted, and an error at sign-out |
//! | `trap` | a panic, also at sign-out |
//! | `spin` | an endless loop, also at sign-out |
//! | `bad-attributes` | an answer that the host must reject |
//! | `reserved` | an attribute reserved for the gateway, which the host must reject |
//! | anything else | accepted, and the attribute `reject-saw` is the name of the hook |

wit_bindgen::generate!({ world: "extension", path: "../../../../wit" });

use auth_gateway::plugin::types::{HookError, SignIn, SignOut, User};
use exports::auth_gateway::plugin::{on_new_user, on_user_login, on_user_logout};

struct Extension;
export!(Extension);

type Verdict = Result<Vec<(String, String)>, HookError>;

impl on_new_user::Guest for Extension {
    fn on_new_user(event: SignIn) -> Verdict {
        judge("on-new-user", &event.user)
    }
}

impl on_user_login::Guest for Extension {
    fn on_user_login(event: SignIn) -> Verdict {
        if says(&event.user, "refuse-login") {
            return rejected("on-user-login", &event.user);
        }
        if says(&event.user, "later-login") {
            return Err(HookError::Unavailable(excuse("on-user-login")));
        }
        judge("on-user-login", &event.user)
    }
}

impl on_user_logout::Guest for Extension {
    fn on_user_logout(event: SignOut) -> Result<(), String> {
        if says(&event.user, "later-logout") {
            return Err(excuse("on-user-logout"));
        }
        match judge("on-user-logout", &event.user) {
            Err(HookError::Unavailable(excuse)) => Err(excuse),
            _ => Ok(()),
        }
    }
}

fn judge(hook: &str, user: &User) -> Verdict {
    if says(user, "trap") {
        panic!("this guest was asked to trap");
    }
    while says(user, "spin") {
        std::hint::black_box(user);
    }
    if says(user, "reject") {
        return rejected(hook, user);
    }
    if says(user, "unavailable") {
        return Err(HookError::Unavailable(excuse(hook)));
    }
    if says(user, "reserved") {
        return Ok(vec![("gateway.role".into(), "admin".into())]);
    }
    if says(user, "bad-attributes") {
        return Ok(vec![("line\nbreak".into(), "\u{1b}[31m".into())]);
    }
    Ok(vec![("reject-saw".into(), hook.into())])
}

fn rejected(hook: &str, user: &User) -> Verdict {
    Err(HookError::Rejected(format!("Rejected by {hook}: {}", user.name)))
}

fn excuse(hook: &str) -> String {
    format!("{hook} has\nno \u{1b}[31mservice {}", "x".repeat(10_000))
}

fn says(user: &User, word: &str) -> bool {
    user.name.contains(word) || user.email.as_deref().is_some_and(|email| email.contains(word))
}
