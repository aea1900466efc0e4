//! Runs the hooks of every extension in the configured order, and combines their answers into one verdict.

use std::collections::BTreeMap;

use gateway_model::{Event, EventKind, User, UserLimits, Verdict, limits};
use gateway_sandbox::exports::Function;
use gateway_sandbox::lifecycle::{self, HookAnswer};
use gateway_sandbox::{CallError, HostServices, OnFailure};

use crate::dispatcher::Dispatcher;
use crate::generation::Generation;
use crate::metrics::Outcome;
use crate::registry::Snapshot;

/// Runs the event's hook of every extension, all of one snapshot. A sign-in ends at the first hook that does not
/// accept; a sign-out runs all of them. Each hook sees the user with the attributes that earlier hooks have set. An
/// answer with which the user would exceed `limits` is a failure.
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
        let said = run_hook(dispatcher, snapshot, name, function, services, event, &user).await;
        match said.and_then(|said| within_limits(said, name, function, &mut user, limits)) {
            Ok(None) => {}
            Ok(Some(HookAnswer::Accepted(set))) => attributes.extend(set),
            Ok(Some(HookAnswer::Rejected(reason))) => return Verdict::Rejected { hook: hook(), reason },
            Err(error) => {
                let plugin = snapshot.plugins.get(name.as_str());
                let passes = plugin.is_some_and(|plugin| plugin.config.on_failure == OnFailure::Pass);
                if event.kind == EventKind::Logout {
                    failed.get_or_insert(Verdict::Failed {
                        hook: hook(),
                        error: error.to_string(),
                    });
                } else if passes {
                    tracing::warn!(plugin = name, function = function.name(), event = %event.id,
                        "a hook failed, and the sign-in continues as configured: {error}");
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

/// Sets a hook's attributes on the user, for the next hook to see. An answer that would exceed `limits` is invalid.
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

/// Runs one extension's hook; `None` if it has none for this event.
async fn run_hook(
    dispatcher: &Dispatcher,
    snapshot: &Snapshot,
    name: &str,
    function: Function,
    services: &HostServices,
    event: &Event,
    user: &User,
) -> Result<Option<HookAnswer>, CallError> {
    let (plugin, generation) = snapshot.serving(name)?;
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
