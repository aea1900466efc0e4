//! What a component exports of ours: any subset of the four interfaces, looked up one by one.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::permission_provider::ProviderError;
use crate::bindings::types::{self, HookError};
use crate::bindings::{on_new_user, on_user_login, on_user_logout, permission_provider};
use crate::error::ComponentError;
use crate::guest::GuestState;
use crate::interface::{PACKAGE, VERSION, fits, split};

/// A function of a plugin that the gateway calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// `permission-provider`.
    GetPermissions,
    /// `on-new-user`.
    OnNewUser,
    /// `on-user-login`.
    OnUserLogin,
    /// `on-user-logout`.
    OnUserLogout,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::GetPermissions,
        Self::OnNewUser,
        Self::OnUserLogin,
        Self::OnUserLogout,
    ];

    /// Its name in the log and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GetPermissions => "get-permissions",
            Self::OnNewUser => "on-new-user",
            Self::OnUserLogin => "on-user-login",
            Self::OnUserLogout => "on-user-logout",
        }
    }

    /// The interface that it is in.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::GetPermissions => "permission-provider",
            hook => hook.name(),
        }
    }
}

/// What a provider answers, unchecked.
pub type Answer = Result<Vec<types::Permission>, ProviderError>;

/// What a hook says, unchecked: attributes to set, or why there are none.
pub type HookResult = Result<Vec<(String, String)>, HookError>;

/// Where a component's exports are; `None` for the interfaces that it does not have.
pub struct Exports {
    pub(crate) permission_provider: Option<permission_provider::GuestIndices>,
    pub(crate) on_new_user: Option<on_new_user::GuestIndices>,
    pub(crate) on_user_login: Option<on_user_login::GuestIndices>,
    pub(crate) on_user_logout: Option<on_user_logout::GuestIndices>,
}

impl Exports {
    /// Looks them up by name.
    ///
    /// # Errors
    /// If an interface is there in a version that the gateway does not support, or in two, or without its
    /// function, or if none of them is there.
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

    /// Compares the types of all of them with the interfaces', which takes an instance.
    ///
    /// # Errors
    /// When one differs.
    pub fn check_types(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<(), ComponentError> {
        if let Some(indices) = &self.permission_provider {
            let guest = indices.load(&mut *store, instance);
            guest.map_err(wrong_type(Function::GetPermissions))?;
        }
        if let Some(indices) = &self.on_new_user {
            let guest = indices.load(&mut *store, instance);
            guest.map_err(wrong_type(Function::OnNewUser))?;
        }
        if let Some(indices) = &self.on_user_login {
            let guest = indices.load(&mut *store, instance);
            guest.map_err(wrong_type(Function::OnUserLogin))?;
        }
        if let Some(indices) = &self.on_user_logout {
            let guest = indices.load(&mut *store, instance);
            guest.map_err(wrong_type(Function::OnUserLogout))?;
        }
        Ok(())
    }

    /// Whether a function is there.
    pub const fn has(&self, function: Function) -> bool {
        match function {
            Function::GetPermissions => self.permission_provider.is_some(),
            Function::OnNewUser => self.on_new_user.is_some(),
            Function::OnUserLogin => self.on_user_login.is_some(),
            Function::OnUserLogout => self.on_user_logout.is_some(),
        }
    }

    /// Whether any of the three hooks is there.
    pub const fn has_hook(&self) -> bool {
        self.on_new_user.is_some() || self.on_user_login.is_some() || self.on_user_logout.is_some()
    }

    /// Calls `get-permissions`.
    ///
    /// # Errors
    /// When it traps, is stopped, or is not there.
    pub async fn get_permissions(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        service: &str,
        user: &str,
    ) -> wasmtime::Result<Answer> {
        let indices = self.permission_provider.as_ref().ok_or_else(missing)?;
        let guest = indices.load(&mut *store, instance)?;
        guest.call_get_permissions(store, service, user).await
    }

    /// Calls `on-new-user`.
    ///
    /// # Errors
    /// When it traps, is stopped, or is not there.
    pub async fn new_user(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        event: &types::SignIn,
    ) -> wasmtime::Result<HookResult> {
        let indices = self.on_new_user.as_ref().ok_or_else(missing)?;
        let guest = indices.load(&mut *store, instance)?;
        guest.call_on_new_user(store, event).await
    }

    /// Calls `on-user-login`.
    ///
    /// # Errors
    /// When it traps, is stopped, or is not there.
    pub async fn login(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        event: &types::SignIn,
    ) -> wasmtime::Result<HookResult> {
        let indices = self.on_user_login.as_ref().ok_or_else(missing)?;
        let guest = indices.load(&mut *store, instance)?;
        guest.call_on_user_login(store, event).await
    }

    /// Calls `on-user-logout`. What it gives is why the event could not be dealt with, unchecked.
    ///
    /// # Errors
    /// When it traps, is stopped, or is not there.
    pub async fn logout(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        event: &types::SignOut,
    ) -> wasmtime::Result<Result<(), String>> {
        let indices = self.on_user_logout.as_ref().ok_or_else(missing)?;
        let guest = indices.load(&mut *store, instance)?;
        guest.call_on_user_logout(store, event).await
    }
}

/// Looks one interface up; `None` where it is not there.
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

/// An export that admission has seen is not there: a mistake in the gateway.
fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the component does not export this function")
}
