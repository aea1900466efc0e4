//! The exports of a component: any subset of the package's four interfaces, looked up one by one.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::permission_provider::ProviderError;
use crate::bindings::types::{self, HookError};
use crate::bindings::{on_new_user, on_user_login, on_user_logout, permission_provider};
use crate::error::ComponentError;
use crate::guest::GuestState;
use crate::interface::{PACKAGE, VERSION, fits, split};

gateway_model::named_enum! {
    /// A function of a plugin that the gateway calls, with the name in the log and in metrics.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Function {
        /// Of `permission-provider`.
        GetPermissions = "get-permissions",
        /// Of `on-new-user`.
        OnNewUser = "on-new-user",
        /// Of `on-user-login`.
        OnUserLogin = "on-user-login",
        /// Of `on-user-logout`.
        OnUserLogout = "on-user-logout",
    }
}

impl Function {
    /// The interface that contains it.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::GetPermissions => "permission-provider",
            hook => hook.name(),
        }
    }
}

/// The answer of a permission provider, not yet checked.
pub type Answer = Result<Vec<types::Permission>, ProviderError>;

/// The answer of a hook, not yet checked: attributes to set, or an error.
pub type HookResult = Result<Vec<(String, String)>, HookError>;

/// The indices of a component's exports. An interface that the component does not export is `None`.
#[derive(Default)]
pub struct Exports {
    pub(crate) permission_provider: Option<permission_provider::GuestIndices>,
    pub(crate) on_new_user: Option<on_new_user::GuestIndices>,
    pub(crate) on_user_login: Option<on_user_login::GuestIndices>,
    pub(crate) on_user_logout: Option<on_user_logout::GuestIndices>,
}

impl Exports {
    /// Looks up all interfaces by name.
    ///
    /// # Errors
    /// If an interface is exported in an unsupported version, in two versions, or without its function, or if the
    /// component exports none of them.
    pub fn find(pre: &InstancePre<GuestState>) -> Result<Self, ComponentError> {
        let exports = Self {
            permission_provider: find(
                pre,
                Function::GetPermissions,
                permission_provider::GuestIndices::new,
            )?,
            on_new_user: find(pre, Function::OnNewUser, on_new_user::GuestIndices::new)?,
            on_user_login: find(pre, Function::OnUserLogin, on_user_login::GuestIndices::new)?,
            on_user_logout: find(pre, Function::OnUserLogout, on_user_logout::GuestIndices::new)?,
        };
        if exports.permission_provider.is_none() && !exports.has_hook() {
            return Err(ComponentError::NoExports);
        }
        Ok(exports)
    }

    /// Compares the types of all exports with the interfaces, which requires an instance.
    ///
    /// # Errors
    /// If one differs.
    pub fn check_types(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<(), ComponentError> {
        macro_rules! check {
            ($field:ident, $function:ident) => {
                if let Some(indices) = &self.$field {
                    let guest = indices.load(&mut *store, instance);
                    guest.map_err(wrong_type(Function::$function))?;
                }
            };
        }
        check!(permission_provider, GetPermissions);
        check!(on_new_user, OnNewUser);
        check!(on_user_login, OnUserLogin);
        check!(on_user_logout, OnUserLogout);
        Ok(())
    }

    /// Whether the component exports a function.
    pub const fn has(&self, function: Function) -> bool {
        match function {
            Function::GetPermissions => self.permission_provider.is_some(),
            Function::OnNewUser => self.on_new_user.is_some(),
            Function::OnUserLogin => self.on_user_login.is_some(),
            Function::OnUserLogout => self.on_user_logout.is_some(),
        }
    }

    /// Whether the component exports at least one hook.
    pub const fn has_hook(&self) -> bool {
        self.on_new_user.is_some() || self.on_user_login.is_some() || self.on_user_logout.is_some()
    }
}

/// Calls a function of an exported interface. Admission has seen the export, so a missing one is a bug in the gateway.
macro_rules! call_export {
    ($exports:ident.$interface:ident.$function:ident($store:ident, $instance:ident, $($argument:expr),+)) => {{
        let missing = || wasmtime::Error::msg("the component does not export this function");
        let indices = $exports.$interface.as_ref().ok_or_else(missing)?;
        let guest = indices.load(&mut *$store, $instance)?;
        guest.$function($store, $($argument),+).await
    }};
}
pub(crate) use call_export;

/// Looks up one interface.
fn find<T>(
    pre: &InstancePre<GuestState>,
    function: Function,
    indices: impl FnOnce(&InstancePre<GuestState>) -> wasmtime::Result<T>,
) -> Result<Option<T>, ComponentError> {
    let interface = format!("{PACKAGE}{}", function.interface());
    let component = pre.component().component_type();
    let mut found: Option<&str> = None;
    for (name, _) in component.exports(pre.engine()) {
        let (named, version) = split(name);
        if named != interface {
            continue;
        }
        if !fits(version, VERSION) {
            return Err(ComponentError::Version {
                direction: "exports",
                name: name.to_owned(),
                package: PACKAGE.trim_end_matches('/'),
                version: VERSION,
            });
        }
        if let Some(first) = found.replace(name) {
            return Err(ComponentError::Twice {
                first: first.to_owned(),
                second: name.to_owned(),
            });
        }
    }
    found
        .map(|_| indices(pre))
        .transpose()
        .map_err(wrong_type(function))
}

fn wrong_type(function: Function) -> impl FnOnce(wasmtime::Error) -> ComponentError {
    move |error| ComponentError::WrongType {
        interface: function.interface(),
        reason: format!("{error:#}"),
    }
}
