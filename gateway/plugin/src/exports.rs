//! What a component exports of ours: any subset of the four interfaces, looked up one by one.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::{on_new_user, on_user_login, on_user_logout, permission_provider};
use crate::error::AdmissionError;
use crate::guest::GuestState;

/// The version of `auth-gateway:plugin` that the host speaks. Another patch version fits.
pub(crate) const VERSION: &str = "0.1.0";
/// What that version begins with; the rest may differ.
pub(crate) const COMPATIBLE: &str = "0.1.";
/// Our package, as it begins in the name of an import or export.
pub(crate) const PACKAGE: &str = "auth-gateway:plugin/";

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

/// Where a component's exports are; `None` for the interfaces that it does not have.
pub(crate) struct Exports {
    pub(crate) permission_provider: Option<permission_provider::GuestIndices>,
    pub(crate) on_new_user: Option<on_new_user::GuestIndices>,
    pub(crate) on_user_login: Option<on_user_login::GuestIndices>,
    pub(crate) on_user_logout: Option<on_user_logout::GuestIndices>,
}

impl Exports {
    /// Looks them up by name.
    ///
    /// # Errors
    /// When an interface is there in another version or without its function, or none of them is there.
    pub(crate) fn find(pre: &InstancePre<GuestState>) -> Result<Self, AdmissionError> {
        let component = pre.component();
        let mut found = [false; 4];
        for (name, _) in component.component_type().exports(component.engine()) {
            let Some((interface, version)) = name
                .strip_prefix(PACKAGE)
                .map(|rest| rest.split_once('@').unwrap_or((rest, "")))
            else {
                continue;
            };
            for (function, found) in Function::ALL.into_iter().zip(&mut found) {
                if function.interface() == interface {
                    if !version.starts_with(COMPATIBLE) {
                        let (direction, name) = ("exports", name.to_owned());
                        return Err(AdmissionError::Version {
                            direction,
                            name,
                            ours: VERSION,
                        });
                    }
                    *found = true;
                }
            }
        }
        if found == [false; 4] {
            return Err(AdmissionError::NoExports);
        }
        let [provider, new_user, login, logout] = found;
        let wrong = |function: Function| {
            move |error: wasmtime::Error| AdmissionError::WrongType {
                interface: function.interface(),
                reason: format!("{error:#}"),
            }
        };
        Ok(Self {
            permission_provider: provider
                .then(|| permission_provider::GuestIndices::new(pre))
                .transpose()
                .map_err(wrong(Function::GetPermissions))?,
            on_new_user: new_user
                .then(|| on_new_user::GuestIndices::new(pre))
                .transpose()
                .map_err(wrong(Function::OnNewUser))?,
            on_user_login: login
                .then(|| on_user_login::GuestIndices::new(pre))
                .transpose()
                .map_err(wrong(Function::OnUserLogin))?,
            on_user_logout: logout
                .then(|| on_user_logout::GuestIndices::new(pre))
                .transpose()
                .map_err(wrong(Function::OnUserLogout))?,
        })
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
        let wrong = |function: Function, error: wasmtime::Error| AdmissionError::WrongType {
            interface: function.interface(),
            reason: format!("{error:#}"),
        };
        if let Some(indices) = &self.permission_provider {
            indices
                .load(&mut *store, instance)
                .map_err(|error| wrong(Function::GetPermissions, error))?;
        }
        if let Some(indices) = &self.on_new_user {
            indices
                .load(&mut *store, instance)
                .map_err(|error| wrong(Function::OnNewUser, error))?;
        }
        if let Some(indices) = &self.on_user_login {
            indices
                .load(&mut *store, instance)
                .map_err(|error| wrong(Function::OnUserLogin, error))?;
        }
        if let Some(indices) = &self.on_user_logout {
            indices
                .load(&mut *store, instance)
                .map_err(|error| wrong(Function::OnUserLogout, error))?;
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
}
