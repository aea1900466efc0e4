//! Telling extensions who comes and goes: the hooks of every extension in configured order, and what
//! they say all together.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_model::{Event, EventKind, User, UserLimits, Verdict, limits};

use crate::bindings::types::{self, HookError};
use crate::call::Invoke;
use crate::convert;
use crate::error::CallError;
use crate::exports::{Function, Word};
use crate::guest::Sources;
use crate::metrics::Outcome;
use crate::registry::{Generation, Plugin, Snapshot};
use crate::serve::Lanes;
use crate::{OnFailure, answer};

/// What one hook says, checked.
pub(crate) enum Said {
    Accepted(BTreeMap<String, String>),
    Rejected(String),
}

/// Runs the event's hook of every extension, all of one snapshot. A sign-in ends at the first that does
/// not accept; a sign-out is told to all, whatever one of them does. Each hook sees the user with the
/// attributes that those before it have set. An answer with which the user would exceed `limits` counts as failed.
pub(crate) async fn run_hooks(
    lanes: &Lanes,
    snapshot: &Snapshot,
    sources: &Sources,
    event: &Event,
    user: &User,
    limits: &UserLimits,
) -> Verdict {
    let function = function_of(event.kind);
    let mut user = user.clone();
    let mut attributes = BTreeMap::new();
    let mut failed = None;
    for name in &snapshot.set.extensions {
        let hook = || format!("{name}/{}", function.name());
        let plugin = snapshot.plugins.get(name.as_str());
        let said = run_hook(lanes, plugin, name, function, sources, event, &user).await;
        match said.and_then(|said| within_limits(said, name, function, &mut user, limits)) {
            Ok(None) => {}
            Ok(Some(Said::Accepted(set))) => attributes.extend(set),
            Ok(Some(Said::Rejected(reason))) => return Verdict::Rejected { hook: hook(), reason },
            Err(error) => {
                let passes = plugin.is_some_and(|plugin| plugin.config.on_failure == OnFailure::Pass);
                if event.kind == EventKind::Logout {
                    failed.get_or_insert(Verdict::Failed {
                        hook: hook(),
                        error: error.to_string(),
                    });
                } else if passes {
                    tracing::warn!(plugin = name, function = function.name(), event = %event.id,
                        "a failed hook is passed over, as configured: {error}");
                } else {
                    return Verdict::Failed {
                        hook: hook(),
                        error: error.to_string(),
                    };
                }
            }
        }
    }
    failed.unwrap_or(Verdict::Accepted(attributes))
}

/// Sets what a hook has answered on the user, for the next hook to see. An answer with which the user would have more
/// than one may have is not an answer.
fn within_limits(
    said: Option<Said>,
    name: &str,
    function: Function,
    user: &mut User,
    limits: &UserLimits,
) -> Result<Option<Said>, CallError> {
    if let Some(Said::Accepted(set)) = &said {
        limits::set_attributes(&mut user.attributes, set, limits).map_err(|bound| {
            CallError::InvalidAnswer {
                plugin: name.to_owned(),
                function: function.name(),
                reason: bound.to_string(),
            }
        })?;
    }
    Ok(said)
}

/// Runs one extension's hook; `None` where it has none for this event.
async fn run_hook(
    lanes: &Lanes,
    plugin: Option<&Arc<Plugin>>,
    name: &str,
    function: Function,
    sources: &Sources,
    event: &Event,
    user: &User,
) -> Result<Option<Said>, CallError> {
    let Some((plugin, generation)) = plugin.and_then(|plugin| Some((plugin, plugin.generation.clone()?)))
    else {
        let problem = plugin.map_or("it is not there", |plugin| plugin.why_not());
        return Err(CallError::NotLoaded {
            plugin: name.to_owned(),
            problem: problem.to_owned(),
        });
    };
    if !generation.exports.has(function) {
        return Ok(None);
    }
    let invoke = invoke(event, user);
    let check = move |word, generation: &Generation| check(word, function, generation);
    lanes
        .call(
            plugin,
            generation,
            function,
            "",
            sources.clone(),
            invoke,
            check,
            |said| said,
        )
        .await
        .map(Some)
}

/// The hook that is told of such an event.
pub(crate) const fn function_of(kind: EventKind) -> Function {
    match kind {
        EventKind::NewUser => Function::OnNewUser,
        EventKind::Login => Function::OnUserLogin,
        EventKind::Logout => Function::OnUserLogout,
    }
}

/// The call of the event's hook.
pub(crate) fn invoke(event: &Event, user: &User) -> Invoke<Word> {
    match event.kind {
        EventKind::NewUser => on_new_user(convert::sign_in(event, user)),
        EventKind::Login => on_user_login(convert::sign_in(event, user)),
        EventKind::Logout => on_user_logout(convert::sign_out(event, user)),
    }
}

fn on_new_user(event: types::SignIn) -> Invoke<Word> {
    Box::new(move |store, instance, exports| {
        Box::pin(async move { exports.new_user(store, instance, &event).await })
    })
}

fn on_user_login(event: types::SignIn) -> Invoke<Word> {
    Box::new(move |store, instance, exports| {
        Box::pin(async move { exports.login(store, instance, &event).await })
    })
}

fn on_user_logout(event: types::SignOut) -> Invoke<Word> {
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
pub(crate) fn check(
    word: Word,
    function: Function,
    generation: &Generation,
) -> Result<(Said, Outcome), CallError> {
    let plugin = || generation.plugin.to_string();
    match word {
        Ok(set) => answer::attributes(set, &generation.config.limits)
            .map(|set| (Said::Accepted(set), Outcome::Ok))
            .map_err(|reason| CallError::InvalidAnswer {
                plugin: plugin(),
                function: function.name(),
                reason,
            }),
        Err(HookError::Rejected(reason)) => Ok((Said::Rejected(answer::reason(&reason)), Outcome::Rejected)),
        Err(HookError::Unavailable(message)) => Err(CallError::HookUnavailable {
            plugin: plugin(),
            function: function.name(),
            message: answer::message(&message),
        }),
    }
}
