//! The hooks `on-new-user`, `on-user-login` and `on-user-logout`: calling them, and checking their answers.

use std::collections::BTreeMap;

use gateway_model::{Event, EventKind, User};

use crate::bindings::types::HookError;
use crate::call::Invoke;
use crate::error::CallError;
use crate::exports::{Function, HookResult, call_export};
use crate::program::Program;
use crate::{answer, convert};

/// The answer of a hook, checked.
pub enum HookAnswer {
    /// The hook accepts the event, and sets these attributes.
    Accepted(BTreeMap<String, String>),
    /// The hook rejects the sign-in, for a reason that the gateway shows to the person.
    Rejected(String),
}

/// The hook for a kind of event.
pub const fn function_of(kind: EventKind) -> Function {
    match kind {
        EventKind::NewUser => Function::OnNewUser,
        EventKind::Login => Function::OnUserLogin,
        EventKind::Logout => Function::OnUserLogout,
    }
}

/// The call of the event's hook.
pub fn invoke(event: &Event, user: &User) -> Invoke<HookResult> {
    match event.kind {
        EventKind::NewUser => {
            let event = convert::sign_in(event, user);
            Box::new(move |store, instance, exports| {
                Box::pin(async move {
                    call_export!(exports.on_new_user.call_on_new_user(store, instance, &event))
                })
            })
        }
        EventKind::Login => {
            let event = convert::sign_in(event, user);
            Box::new(move |store, instance, exports| {
                Box::pin(async move {
                    call_export!(exports.on_user_login.call_on_user_login(store, instance, &event))
                })
            })
        }
        EventKind::Logout => {
            let event = convert::sign_out(event, user);
            Box::new(move |store, instance, exports| {
                Box::pin(async move {
                    let heard = call_export!(
                        exports
                            .on_user_logout
                            .call_on_user_logout(store, instance, &event)
                    )?;
                    Ok(heard.map(|()| Vec::new()).map_err(HookError::Unavailable))
                })
            })
        }
    }
}

/// Checks the answer of a hook.
///
/// # Errors
/// If the answer breaks a rule, or the hook has no verdict.
pub fn check(result: HookResult, function: Function, program: &Program) -> Result<HookAnswer, CallError> {
    let plugin = || program.plugin.to_string();
    match result {
        Ok(set) => answer::attributes(set, &program.config.limits)
            .map(HookAnswer::Accepted)
            .map_err(|reason| CallError::InvalidAnswer {
                plugin: plugin(),
                function: function.name(),
                reason,
            }),
        Err(HookError::Rejected(reason)) => Ok(HookAnswer::Rejected(answer::reason(&reason))),
        Err(HookError::Unavailable(message)) => Err(CallError::HookUnavailable {
            plugin: plugin(),
            function: function.name(),
            message: answer::message(&message),
        }),
    }
}
