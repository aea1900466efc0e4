//! From a compiled component to a generation: its imports and exports checked, linked, and tried.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use gateway_model::{Identity, Timestamp, User, UserId, UserStatus};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Component;

use super::{Admission, Candidate};
use crate::error::AdmissionError;
use crate::exports::{Exports, Function};
use crate::grants::{self, Import};
use crate::guest::Sources;
use crate::history::KeptGeneration;
use crate::metrics::Meters;
use crate::places::Ended;
use crate::ready::Ready;
use crate::registry::{Generation, Roles};
use crate::{PluginConfig, call, permission_provider};

/// The least that a trial call may take: the machine is busy compiling.
const MIN_TRIAL: Duration = Duration::from_secs(2);

/// The most that it may take, unless the plugin's own deadline is longer.
const MAX_TRIAL: Duration = Duration::from_secs(60);

/// Which component it is.
#[derive(Clone)]
pub(crate) struct Identified {
    pub(crate) number: u64,
    pub(crate) digest: Arc<str>,
    pub(crate) signature: Option<Arc<str>>,
}

impl From<&KeptGeneration> for Identified {
    fn from(kept: &KeptGeneration) -> Self {
        Self {
            number: kept.number,
            digest: Arc::clone(&kept.digest),
            signature: kept.signature.clone(),
        }
    }
}

impl From<&Generation> for Identified {
    fn from(generation: &Generation) -> Self {
        Self {
            number: generation.number,
            digest: Arc::clone(&generation.digest),
            signature: generation.signature.clone(),
        }
    }
}

impl Admission {
    /// Checks, links and tries a component. A trial that takes long may begin again.
    pub(crate) async fn admit(
        &self,
        candidate: &Candidate,
        component: &Component,
        identity: impl Into<Identified>,
    ) -> Result<Box<Generation>, AdmissionError> {
        let identity = identity.into();
        let mut generation = self
            .lanes
            .trials()
            .run(0, |_| {
                let linked = self.link(candidate, component, identity.clone());
                async move {
                    let tried = async {
                        let linked = linked?;
                        check_roles(&candidate.roles, &linked.exports)?;
                        self.try_out(linked).await
                    };
                    Ended::Done(tried.await)
                }
            })
            .await?;
        generation.is_untried = false;
        // The trial does not wait for the memory that the generation before has.
        generation.memory = Some(self.lanes.memory().share(&candidate.name));
        Ok(generation)
    }

    /// Applies the current configuration to the generation that serves, without waiting for a trial: a revoked grant must not
    /// stay in force until one is over. Returns `None` if only limits differ. New limits wait for a trial under them.
    ///
    /// # Errors
    /// Why it must not serve any more.
    pub(crate) fn carry(
        &self,
        candidate: &Candidate,
        serving: &Generation,
    ) -> Result<Option<Box<Generation>>, AdmissionError> {
        candidate.check_trust(&serving.digest, serving.signature.as_ref())?;
        let (old, new) = (&serving.config, &candidate.config);
        if old.grants.is_subset(&new.grants)
            && old.http.is_within(&new.http)
            && old.settings == new.settings
            && old.secrets == new.secrets
        {
            return Ok(None);
        }
        let mut generation = self.link(candidate, serving.pre.component(), serving.into())?;
        generation.memory = Some(self.lanes.memory().share(&candidate.name));
        Ok(Some(generation))
    }

    /// Checks and links a component, and leaves the trial out: for an author who wants to call what fails its trial.
    pub(crate) fn admit_untried(
        &self,
        candidate: &Candidate,
        component: &Component,
        identity: Identified,
    ) -> Result<Box<Generation>, AdmissionError> {
        let mut generation = self.link(candidate, component, identity)?;
        check_roles(&candidate.roles, &generation.exports)?;
        generation.memory = Some(self.lanes.memory().share(&candidate.name));
        Ok(generation)
    }

    /// Checks what a component imports, and links it.
    fn link(
        &self,
        candidate: &Candidate,
        component: &Component,
        identity: Identified,
    ) -> Result<Box<Generation>, AdmissionError> {
        let Candidate { name, config, .. } = candidate;
        check_imports(component, name, config)?;
        let pre = grants::linker(component.engine(), &config.grants)
            .and_then(|linker| linker.instantiate_pre(component))
            .map_err(|error| AdmissionError::WrongImport(format!("{error:#}")))?;
        let exports = Exports::find(&pre)?;
        Ok(Box::new(Generation {
            plugin: Arc::clone(name),
            number: identity.number,
            digest: identity.digest,
            signature: identity.signature,
            config: Arc::clone(config),
            meters: Meters::new(name, &exports),
            log_rate: self.log_rate(name, config.limits.log_bytes_per_minute),
            ready: Ready::default(),
            memory: None,
            peak: AtomicUsize::new(self.engines.kept(pre.engine())),
            is_untried: true,
            pre,
            exports,
        }))
    }

    /// The trial: an instance of it, its exports' types, and for a provider one call for somebody who
    /// does not exist. Answering with an error passes; a trap does not. Dropping the future ends it.
    async fn try_out(&self, generation: Box<Generation>) -> Result<Box<Generation>, AdmissionError> {
        let task = self.lanes.guests().spawn(async move {
            let user = invented_user();
            let invoke = permission_provider::invoke("trial".to_owned(), user.id.as_str().to_owned());
            let sources = Sources::trial(user);
            let limit = generation.config.limits.deadline;
            let allowed = limit.saturating_mul(4).clamp(MIN_TRIAL, MAX_TRIAL.max(limit));
            let deadline = Instant::now() + allowed;
            let function = Function::ALL
                .into_iter()
                .find(|function| generation.exports.has(*function))
                .unwrap_or(Function::GetPermissions);
            let types = call::run(
                &generation,
                function,
                sources.clone(),
                deadline,
                None,
                Box::new(|store, instance, exports| {
                    Box::pin(async move { Ok(exports.check_types(store, instance)) })
                }),
            );
            let (checked, _) = types.await;
            checked.map_err(|failure| AdmissionError::Trial(Box::new(failure)))??;
            if generation.exports.has(Function::GetPermissions) {
                let (answer, _) = call::run(
                    &generation,
                    Function::GetPermissions,
                    sources,
                    deadline,
                    None,
                    invoke,
                )
                .await;
                // defence: trial-call-decides (a test fails without it: docs/defences.md)
                let answer = answer.map_err(|failure| AdmissionError::Trial(Box::new(failure)))?;
                permission_provider::check(answer, &generation)
                    .map(|_| ())
                    .or_else(|error| match error {
                        crate::CallError::Unavailable { .. } | crate::CallError::Failed { .. } => Ok(()),
                        error => Err(error),
                    })
                    .map_err(|error| AdmissionError::Trial(Box::new(error.into())))?;
            }
            Ok(generation)
        });
        AbortOnDropHandle::new(task)
            .await
            .map_err(|error| AdmissionError::CompileFailed(error.to_string()))?
    }
}

/// Whether a component has what its plugin is configured for.
pub(super) fn check_roles(roles: &Roles, exports: &Exports) -> Result<(), AdmissionError> {
    if !roles.services.is_empty() && !exports.has(Function::GetPermissions) {
        return Err(AdmissionError::NotAProvider {
            services: roles.services.join(", "),
        });
    }
    if roles.extension && !exports.has_hook() {
        return Err(AdmissionError::NotAnExtension);
    }
    Ok(())
}

/// Whether a component imports only what there is and what it has been granted.
fn check_imports(component: &Component, plugin: &str, config: &PluginConfig) -> Result<(), AdmissionError> {
    for (name, _) in component.component_type().imports(component.engine()) {
        let import = crate::text::printable(name, 200);
        let plugin = plugin.to_owned();
        match grants::import(name) {
            Import::Free => {}
            // defence: imports-are-checked-against-grants (a test fails without it: docs/defences.md)
            Import::Needs(grant) if config.grants.contains(&grant) => {}
            Import::Needs(grant) => {
                let mut names: Vec<_> = config.grants.iter().map(|grant| grant.as_str()).collect();
                names.push(grant.as_str());
                names.sort_unstable();
                return Err(AdmissionError::NotGranted {
                    import,
                    plugin,
                    grants: format!("{names:?}"),
                });
            }
            Import::OtherVersion(served) => {
                return Err(AdmissionError::Version {
                    direction: "imports",
                    name: import,
                    served: served.join(" and "),
                });
            }
            Import::Unknown => return Err(AdmissionError::UnknownImport { import, plugin }),
        }
    }
    Ok(())
}

/// Who a trial call is about.
pub(crate) fn invented_user() -> User {
    let identity = Identity {
        provider: "trial".to_owned(),
        issuer: "https://trial.invalid".to_owned(),
        subject: "trial".to_owned(),
    };
    User {
        id: UserId::from("0".repeat(32)),
        username: None,
        name: "Trial".to_owned(),
        email: None,
        avatar_url: None,
        identities: vec![identity],
        joined: Timestamp(0),
        status: UserStatus::Active,
        attributes: BTreeMap::new(),
    }
}
