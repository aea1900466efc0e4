//! Calls a service's permission provider.

use std::sync::Arc;

use gateway_model::UserId;
use gateway_sandbox::exports::Function;
use gateway_sandbox::{CallError, HostServices, permission_provider};

use crate::Permissions;
use crate::dispatcher::Dispatcher;
use crate::generation::Generation;
use crate::metrics::Outcome;
use crate::registry::Registry;

/// How many more times a provider is called that was replaced during the call.
const AGAIN: usize = 3;

/// Calls the service's provider, and `then` with its answer on the same thread. The answer of a provider that is
/// replaced, withdrawn or reconfigured during the call is discarded, and the one in its place is called.
pub(crate) async fn get_permissions<T: Send + 'static>(
    dispatcher: &Dispatcher,
    registry: &Arc<Registry>,
    services: &HostServices,
    service: &str,
    user: &UserId,
    then: impl FnOnce(Permissions) -> T + Clone + Send + 'static,
) -> Result<T, CallError> {
    let mut left = AGAIN;
    loop {
        let snapshot = registry.snapshot();
        let Some(provider) = snapshot.set.services.get(service) else {
            return Err(CallError::NotConfigured {
                service: service.to_owned(),
            });
        };
        let (plugin, generation) = snapshot.serving(provider)?;
        let invoke = permission_provider::invoke(service.to_owned(), user.as_str().to_owned());
        let (registry, asked, name) = (Arc::clone(registry), Arc::clone(&generation), service.to_owned());
        let check = move |answer, generation: &Generation| {
            let permissions = permission_provider::check(answer, &generation.program)?;
            if registry.serves(&name, &asked) {
                let digest = Arc::clone(&generation.digest);
                Ok((Permissions { permissions, digest }, Outcome::Ok))
            } else {
                Err(CallError::Replaced {
                    plugin: generation.program.plugin.to_string(),
                })
            }
        };
        let asked = dispatcher.call(
            plugin,
            generation,
            Function::GetPermissions,
            service,
            services.clone(),
            invoke,
            check,
            then.clone(),
        );
        match asked.await {
            Err(CallError::Replaced { .. }) if left > 0 => left -= 1,
            answer => return answer,
        }
    }
}
