//! The hooks' interfaces, `on-new-user`, `on-user-login` and `on-user-logout`: the call, and what is made of its answer.

use std::collections::BTreeMap;

use gateway_model::{Event, EventKind, User};

use crate::bindings::types::{self, HookError};
use crate::call::Invoke;
use crate::error::CallError;
use crate::exports::{Function, HookResult};
use crate::program::Program;
use crate::{answer, convert};

/// What one hook says, checked.
pub enum HookAnswer {
    /// It accepts, and sets these attributes.
    Accepted(BTreeMap<String, String>),
    /// It rejects, with a reason for the person.
    Rejected(String),
}

/// The hook that is told of such an event.
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
        EventKind::NewUser => on_new_user(convert::sign_in(event, user)),
        EventKind::Login => on_user_login(convert::sign_in(event, user)),
        EventKind::Logout => on_user_logout(convert::sign_out(event, user)),
    }
}

fn on_new_user(event: types::SignIn) -> Invoke<HookResult> {
    Box::new(move |store, instance, exports| {
        Box::pin(async move { exports.new_user(store, instance, &event).await })
    })
}

fn on_user_login(event: types::SignIn) -> Invoke<HookResult> {
    Box::new(move |store, instance, exports| {
        Box::pin(async move { exports.login(store, instance, &event).await })
    })
}

fn on_user_logout(event: types::SignOut) -> Invoke<HookResult> {
    Box::new(move |store, instance, exports| {
        Box::pin(async move {
            let heard = exports.logout(store, instance, &event).await?;
            Ok(heard.map(|()| Vec::new()).map_err(HookError::Unavailable))
        })
    })
}

/// What a hook says, checked.
///
/// # Errors
/// When it breaks a rule, or is no verdict.
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
