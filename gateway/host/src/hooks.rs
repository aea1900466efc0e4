//! Telling extensions who comes and goes: the hooks of every extension in configured order, and what
//! they say all together.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_model::{Event, EventKind, User, UserLimits, Verdict, limits};
use gateway_sandbox::exports::Function;
use gateway_sandbox::lifecycle::{self, HookAnswer};
use gateway_sandbox::{CallError, HostServices, OnFailure};

use crate::dispatcher::Dispatcher;
use crate::generation::Generation;
use crate::metrics::Outcome;
use crate::registry::{Plugin, Snapshot};

/// Runs the event's hook of every extension, all of one snapshot. A sign-in ends at the first that does
/// not accept; a sign-out is told to all, whatever one of them does. Each hook sees the user with the
/// attributes that those before it have set. An answer with which the user would exceed `limits` counts as failed.
pub(crate) async fn run_hooks(
    dispatcher: &Dispatcher,
    snapshot: &Snapshot,
    services: &HostServices,
    event: &Event,
    user: &User,
    limits: &UserLimits,
) -> Verdict {
    let function = lifecycle::function_of(event.kind);
    let mut user = user.clone();
    let mut attributes = BTreeMap::new();
    let mut failed = None;
    for name in &snapshot.set.extensions {
        let hook = || format!("{name}/{}", function.name());
        let plugin = snapshot.plugins.get(name.as_str());
        let said = run_hook(dispatcher, plugin, name, function, services, event, &user).await;
        match said.and_then(|said| within_limits(said, name, function, &mut user, limits)) {
            Ok(None) => {}
            Ok(Some(HookAnswer::Accepted(set))) => attributes.extend(set),
            Ok(Some(HookAnswer::Rejected(reason))) => return Verdict::Rejected { hook: hook(), reason },
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
    said: Option<HookAnswer>,
    name: &str,
    function: Function,
    user: &mut User,
    limits: &UserLimits,
) -> Result<Option<HookAnswer>, CallError> {
    if let Some(HookAnswer::Accepted(set)) = &said {
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
    dispatcher: &Dispatcher,
    plugin: Option<&Arc<Plugin>>,
    name: &str,
    function: Function,
    services: &HostServices,
    event: &Event,
    user: &User,
) -> Result<Option<HookAnswer>, CallError> {
    let Some((plugin, generation)) = plugin.and_then(|plugin| Some((plugin, plugin.generation.clone()?)))
    else {
        let problem = plugin.map_or("it is not there", |plugin| plugin.why_not());
        return Err(CallError::NotLoaded {
            plugin: name.to_owned(),
            problem: problem.to_owned(),
        });
    };
    if !generation.program.exports.has(function) {
        return Ok(None);
    }
    let invoke = lifecycle::invoke(event, user);
    let check = move |result, generation: &Generation| {
        let answer = lifecycle::check(result, function, &generation.program)?;
        let outcome = match &answer {
            HookAnswer::Accepted(_) => Outcome::Ok,
            HookAnswer::Rejected(_) => Outcome::Rejected,
        };
        Ok((answer, outcome))
    };
    dispatcher
        .call(
            plugin,
            generation,
            function,
            "",
            services.clone(),
            invoke,
            check,
            |said| said,
        )
        .await
        .map(Some)
}
