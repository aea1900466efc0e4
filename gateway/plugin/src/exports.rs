//! What a component exports of ours: any subset of the four interfaces, looked up one by one, each in the
//! version that the component has.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::types::{self, HookError};
use crate::bindings::v1::permission_provider::ProviderError;
use crate::bindings::{v0_1, v1};
use crate::error::AdmissionError;
use crate::guest::GuestState;
use crate::interface::{PACKAGE, Version, fits, split};

/// A function of a plugin that the gateway calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Function {
    GetPermissions,
    OnNewUser,
    OnUserLogin,
    OnUserLogout,
}

impl Function {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [
        Self::GetPermissions,
        Self::OnNewUser,
        Self::OnUserLogin,
        Self::OnUserLogout,
    ];

    /// Its name in the log and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::GetPermissions => "get-permissions",
            Self::OnNewUser => "on-new-user",
            Self::OnUserLogin => "on-user-login",
            Self::OnUserLogout => "on-user-logout",
        }
    }

    /// The interface that it is in.
    pub(crate) const fn interface(self) -> &'static str {
        match self {
            Self::GetPermissions => "permission-provider",
            hook => hook.name(),
        }
    }
}

/// What a provider answers, unchecked.
pub(crate) type Answer = Result<Vec<types::Permission>, ProviderError>;

/// What a hook says, unchecked: attributes to set, or why there are none.
pub(crate) type Word = Result<Vec<(String, String)>, HookError>;

/// One interface's function, as a component has it: a type named `$interface` over the generated module
/// `$module` of each version.
macro_rules! indices {
    ($interface:ident, $module:ident) => {
        pub(crate) enum $interface {
            V1(v1::$module::GuestIndices),
            V0_1(v0_1::$module::GuestIndices),
        }

        impl $interface {
            fn find(pre: &InstancePre<GuestState>, version: Version) -> wasmtime::Result<Self> {
                match version {
                    Version::V1 => v1::$module::GuestIndices::new(pre).map(Self::V1),
                    Version::V0_1 => v0_1::$module::GuestIndices::new(pre).map(Self::V0_1),
                }
            }

            /// Compares its types with the interface's.
            fn check(&self, store: &mut Store<GuestState>, instance: &Instance) -> wasmtime::Result<()> {
                match self {
                    Self::V1(indices) => indices.load(store, instance).map(drop),
                    Self::V0_1(indices) => indices.load(store, instance).map(drop),
                }
            }
        }
    };
}

indices!(Provider, permission_provider);
indices!(NewUser, on_new_user);
indices!(Login, on_user_login);
indices!(Logout, on_user_logout);

/// Where a component's exports are; `None` for the interfaces that it does not have. Who calls them need
/// not know their versions.
pub(crate) struct Exports {
    pub(crate) permission_provider: Option<Provider>,
    pub(crate) on_new_user: Option<NewUser>,
    pub(crate) on_user_login: Option<Login>,
    pub(crate) on_user_logout: Option<Logout>,
}

impl Exports {
    /// Looks them up by name.
    ///
    /// # Errors
    /// When an interface is there in a version that the gateway does not serve, or in two, or without its
    /// function, or none of them is there.
    pub(crate) fn find(pre: &InstancePre<GuestState>) -> Result<Self, AdmissionError> {
        let exports = Self {
            permission_provider: find(pre, Function::GetPermissions, Provider::find)?,
            on_new_user: find(pre, Function::OnNewUser, NewUser::find)?,
            on_user_login: find(pre, Function::OnUserLogin, Login::find)?,
            on_user_logout: find(pre, Function::OnUserLogout, Logout::find)?,
        };
        if exports.permission_provider.is_none() && !exports.has_hook() {
            return Err(AdmissionError::NoExports);
        }
        Ok(exports)
    }

    /// Compares the types of all of them with the interfaces', which takes an instance.
    ///
    /// # Errors
    /// When one differs.
    pub(crate) fn check_types(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<(), AdmissionError> {
        if let Some(interface) = &self.permission_provider {
            interface
                .check(store, instance)
                .map_err(wrong_type(Function::GetPermissions))?;
        }
        if let Some(interface) = &self.on_new_user {
            interface
                .check(store, instance)
                .map_err(wrong_type(Function::OnNewUser))?;
        }
        if let Some(interface) = &self.on_user_login {
            interface
                .check(store, instance)
                .map_err(wrong_type(Function::OnUserLogin))?;
        }
        if let Some(interface) = &self.on_user_logout {
            interface
                .check(store, instance)
                .map_err(wrong_type(Function::OnUserLogout))?;
        }
        Ok(())
    }

    /// Whether a function is there.
    pub(crate) const fn has(&self, function: Function) -> bool {
        match function {
            Function::GetPermissions => self.permission_provider.is_some(),
            Function::OnNewUser => self.on_new_user.is_some(),
            Function::OnUserLogin => self.on_user_login.is_some(),
            Function::OnUserLogout => self.on_user_logout.is_some(),
        }
    }

    /// Whether any of the three hooks is there.
    pub(crate) const fn has_hook(&self) -> bool {
        self.on_new_user.is_some() || self.on_user_login.is_some() || self.on_user_logout.is_some()
    }

    /// Calls `get-permissions`.
    ///
    /// # Errors
    /// When it traps, is stopped, or is not there.
    pub(crate) async fn get_permissions(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        service: &str,
        user: &str,
    ) -> wasmtime::Result<Answer> {
        match self.permission_provider.as_ref().ok_or_else(missing)? {
            Provider::V1(indices) => {
                let guest = indices.load(&mut *store, instance)?;
                guest.call_get_permissions(store, service, user).await
            }
            Provider::V0_1(indices) => {
                use v0_1::permission_provider::ProviderError as Old;
                let guest = indices.load(&mut *store, instance)?;
                let answer = guest.call_get_permissions(store, service, user).await?;
                Ok(answer.map_err(|error| match error {
                    Old::Unavailable(message) => ProviderError::Unavailable(message),
                    Old::Failed(message) => ProviderError::Failed(message),
                }))
            }
        }
    }

    /// Calls `on-new-user`.
    ///
    /// # Errors
    /// When it traps, is stopped, or is not there.
    pub(crate) async fn new_user(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        event: &types::SignIn,
    ) -> wasmtime::Result<Word> {
        match self.on_new_user.as_ref().ok_or_else(missing)? {
            NewUser::V1(indices) => {
                let guest = indices.load(&mut *store, instance)?;
                guest.call_on_new_user(store, event).await
            }
            NewUser::V0_1(indices) => {
                let guest = indices.load(&mut *store, instance)?;
                let word = guest.call_on_new_user(store, event).await?;
                Ok(word.map_err(HookError::Rejected))
            }
        }
    }

    /// Calls `on-user-login`.
    ///
    /// # Errors
    /// When it traps, is stopped, or is not there.
    pub(crate) async fn login(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        event: &types::SignIn,
    ) -> wasmtime::Result<Word> {
        match self.on_user_login.as_ref().ok_or_else(missing)? {
            Login::V1(indices) => {
                let guest = indices.load(&mut *store, instance)?;
                guest.call_on_user_login(store, event).await
            }
            Login::V0_1(indices) => {
                let guest = indices.load(&mut *store, instance)?;
                let word = guest.call_on_user_login(store, event).await?;
                Ok(word.map_err(HookError::Rejected))
            }
        }
    }

    /// Calls `on-user-logout`. What it gives is why the event could not be dealt with, unchecked.
    ///
    /// # Errors
    /// When it traps, is stopped, or is not there.
    pub(crate) async fn logout(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        event: &types::SignOut,
    ) -> wasmtime::Result<Result<(), String>> {
        match self.on_user_logout.as_ref().ok_or_else(missing)? {
            Logout::V1(indices) => {
                let guest = indices.load(&mut *store, instance)?;
                guest.call_on_user_logout(store, event).await
            }
            Logout::V0_1(indices) => {
                let guest = indices.load(&mut *store, instance)?;
                guest.call_on_user_logout(store, event).await.map(Ok)
            }
        }
    }
}

/// Looks one interface up, in the one version that it is in; `None` where it is not there.
fn find<T>(
    pre: &InstancePre<GuestState>,
    function: Function,
    indices: impl FnOnce(&InstancePre<GuestState>, Version) -> wasmtime::Result<T>,
) -> Result<Option<T>, AdmissionError> {
    let interface = format!("{PACKAGE}{}", function.interface());
    let component = pre.component().component_type();
    let mut found: Option<(&str, Version)> = None;
    for (name, _) in component.exports(pre.engine()) {
        let (named, version) = split(name);
        if named != interface {
            continue;
        }
        let Some(version) = Version::ALL
            .into_iter()
            .find(|served| fits(version, served.as_str()))
        else {
            let served = Version::ALL.map(|served| format!("{interface}@{}", served.as_str()));
            return Err(AdmissionError::Version {
                direction: "exports",
                name: name.to_owned(),
                served: served.join(" and "),
            });
        };
        if let Some((first, _)) = found.replace((name, version)) {
            return Err(AdmissionError::Twice {
                first: first.to_owned(),
                second: name.to_owned(),
                versions: Version::ALL.map(Version::as_str).join(" and "),
            });
        }
    }
    found
        .map(|(_, version)| indices(pre, version))
        .transpose()
        .map_err(wrong_type(function))
}

fn wrong_type(function: Function) -> impl FnOnce(wasmtime::Error) -> AdmissionError {
    move |error| AdmissionError::WrongType {
        interface: function.interface(),
        reason: format!("{error:#}"),
    }
}

/// An export that admission has seen is not there: a mistake in the gateway.
fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the component does not export this function")
}
