//! Asking a permission provider what a user may do in a service.

use std::sync::Arc;

use gateway_model::UserId;

use crate::Permissions;
use crate::answer;
use crate::bindings::v1::permission_provider::ProviderError;
use crate::call::Invoke;
use crate::error::CallError;
use crate::exports::{Answer, Function};
use crate::guest::Sources;
use crate::metrics::Outcome;
use crate::registry::{Generation, Registry};
use crate::serve::Lanes;

/// How often a provider that was replaced while it was asked is asked again.
const AGAIN: usize = 3;

/// Asks the service's provider, and makes something of its answer where it ran. A provider that is replaced, withdrawn or
/// configured anew while it is asked does not answer any more: what took its place does.
///
/// # Errors
/// Every way to get no answer.
pub(crate) async fn get_permissions<T: Send + 'static>(
    lanes: &Lanes,
    registry: &Arc<Registry>,
    sources: &Sources,
    service: &str,
    user: &UserId,
    then: impl FnOnce(Permissions) -> T + Clone + Send + 'static,
) -> Result<T, CallError> {
    let mut left = AGAIN;
    loop {
        let asked = ask(lanes, registry, sources.clone(), service, user, then.clone());
        match asked.await {
            Err(CallError::Replaced { .. }) if left > 0 => left -= 1,
            answer => return answer,
        }
    }
}

async fn ask<T: Send + 'static>(
    lanes: &Lanes,
    registry: &Arc<Registry>,
    sources: Sources,
    service: &str,
    user: &UserId,
    then: impl FnOnce(Permissions) -> T + Send + 'static,
) -> Result<T, CallError> {
    let snapshot = registry.snapshot();
    let Some(provider) = snapshot.set.services.get(service) else {
        return Err(CallError::NotConfigured {
            service: service.to_owned(),
        });
    };
    let plugin = snapshot.plugins.get(provider.as_str());
    let Some((plugin, generation)) = plugin.and_then(|plugin| Some((plugin, plugin.generation.clone()?)))
    else {
        let problem = plugin.map_or("it is not there", |plugin| plugin.why_not());
        return Err(CallError::NotLoaded {
            plugin: provider.clone(),
            problem: problem.to_owned(),
        });
    };
    let invoke = invoke(service.to_owned(), user.as_str().to_owned());
    let (registry, asked, name) = (Arc::clone(registry), Arc::clone(&generation), service.to_owned());
    let check = move |answer, generation: &Generation| {
        let checked = check(answer, generation)?;
        if registry.serves(&name, &asked) {
            Ok(checked)
        } else {
            Err(CallError::Replaced {
                plugin: generation.plugin.to_string(),
            })
        }
    };
    lanes
        .call(
            plugin,
            generation,
            Function::GetPermissions,
            service,
            sources,
            invoke,
            check,
            then,
        )
        .await
}

/// The call itself.
pub(crate) fn invoke(service: String, user: String) -> Invoke<Answer> {
    Box::new(move |store, instance, exports| {
        Box::pin(async move { exports.get_permissions(store, instance, &service, &user).await })
    })
}

/// The answer, checked.
///
/// # Errors
/// When it breaks a rule, or is the provider's own error.
pub(crate) fn check(answer: Answer, generation: &Generation) -> Result<(Permissions, Outcome), CallError> {
    let plugin = generation.plugin.to_string();
    match answer {
        Ok(permissions) => answer::permissions(permissions, &generation.config.limits)
            .map(|permissions| {
                let digest = Arc::clone(&generation.digest);
                (Permissions { permissions, digest }, Outcome::Ok)
            })
            .map_err(|reason| CallError::InvalidAnswer {
                plugin,
                function: Function::GetPermissions.name(),
                reason,
            }),
        Err(ProviderError::Unavailable(message)) => Err(CallError::Unavailable {
            plugin,
            message: answer::message(&message),
        }),
        Err(ProviderError::Failed(message)) => Err(CallError::Failed {
            plugin,
            message: answer::message(&message),
        }),
    }
}
