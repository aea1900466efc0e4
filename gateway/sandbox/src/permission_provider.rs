//! The interface `permission-provider`: calling it, and checking its answer.

use gateway_model::PermissionMap;

use crate::answer;
use crate::bindings::permission_provider::ProviderError;
use crate::call::Invoke;
use crate::error::CallError;
use crate::exports::{Answer, Function, call_export};
use crate::program::Program;

/// The call of `get-permissions` for a service and a user's id.
pub fn invoke(service: String, user: String) -> Invoke<Answer> {
    Box::new(move |store, instance, exports| {
        Box::pin(async move {
            call_export!(
                exports
                    .permission_provider
                    .call_get_permissions(store, instance, &service, &user)
            )
        })
    })
}

/// Checks the answer of a provider.
///
/// # Errors
/// If the answer breaks a rule, or is an error.
pub fn check(answer: Answer, program: &Program) -> Result<PermissionMap, CallError> {
    let plugin = program.plugin.to_string();
    match answer {
        Ok(permissions) => answer::permissions(permissions, &program.config.limits).map_err(|reason| {
            CallError::InvalidAnswer {
                plugin,
                function: Function::GetPermissions.name(),
                reason,
            }
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
