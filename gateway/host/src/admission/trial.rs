//! From a compiled component to a generation: its imports and exports checked, linked, and tried.

use std::sync::Arc;
use std::time::Duration;

use gateway_sandbox::exports::{Exports, Function};
use gateway_sandbox::guest::invented_user;
use gateway_sandbox::{CallError, HostServices, Program, call, permission_provider};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Component;

use super::{Admission, Candidate};
use crate::error::AdmissionError;
use crate::generation::{Generation, Roles};
use crate::history::KeptGeneration;
use crate::instance_pool::InstancePool;
use crate::metrics::Meters;
use crate::places::Ended;

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
            .dispatcher
            .trials()
            .run(0, |_| {
                let linked = self.link(candidate, component, identity.clone());
                async move {
                    let tried = async {
                        let linked = linked?;
                        check_roles(&candidate.roles, &linked.program.exports)?;
                        self.try_out(linked).await
                    };
                    Ended::Done(tried.await)
                }
            })
            .await?;
        generation.is_untried = false;
        // The trial does not wait for the memory that the generation before has.
        generation.program.memory = Some(self.dispatcher.memory().share(&candidate.name));
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
        let (old, new) = (&serving.program.config, &candidate.config);
        if old.grants.is_subset(&new.grants)
            && old.http.is_within(&new.http)
            && old.settings == new.settings
            && old.secrets == new.secrets
        {
            return Ok(None);
        }
        let mut generation = self.link(candidate, serving.program.component(), serving.into())?;
        generation.program.memory = Some(self.dispatcher.memory().share(&candidate.name));
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
        check_roles(&candidate.roles, &generation.program.exports)?;
        generation.program.memory = Some(self.dispatcher.memory().share(&candidate.name));
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
        let log_rate = self.log_rate(name, config.limits.log_bytes_per_minute);
        let kept = self.engines.kept(component.engine());
        let program = Program::link(component, name, config, log_rate, kept)?;
        Ok(Box::new(Generation {
            number: identity.number,
            digest: identity.digest,
            signature: identity.signature,
            meters: Meters::new(name, &program.exports),
            pool: InstancePool::default(),
            is_untried: true,
            program,
        }))
    }

    /// The trial: an instance of it, its exports' types, and for a provider one call for somebody who
    /// does not exist. Answering with an error passes; a trap does not. Dropping the future ends it.
    async fn try_out(&self, generation: Box<Generation>) -> Result<Box<Generation>, AdmissionError> {
        let task = self.dispatcher.guests().spawn(async move {
            let user = invented_user();
            let invoke = permission_provider::invoke("trial".to_owned(), user.id.as_str().to_owned());
            let services = HostServices::trial(user);
            let limit = generation.program.config.limits.deadline;
            let allowed = limit.saturating_mul(4).clamp(MIN_TRIAL, MAX_TRIAL.max(limit));
            let deadline = Instant::now() + allowed;
            let function = Function::ALL
                .into_iter()
                .find(|function| generation.program.exports.has(*function))
                .unwrap_or(Function::GetPermissions);
            let types = call::run(
                &generation.program,
                function,
                services.clone(),
                deadline,
                None,
                Box::new(|store, instance, exports| {
                    Box::pin(async move { Ok(exports.check_types(store, instance)) })
                }),
            );
            let (checked, _) = types.await;
            checked.map_err(|failure| AdmissionError::Trial(Box::new(failure)))??;
            if generation.program.exports.has(Function::GetPermissions) {
                let (answer, _) = call::run(
                    &generation.program,
                    Function::GetPermissions,
                    services,
                    deadline,
                    None,
                    invoke,
                )
                .await;
                // defence: trial-call-decides (a test fails without it: docs/defences.md)
                let answer = answer.map_err(|failure| AdmissionError::Trial(Box::new(failure)))?;
                permission_provider::check(answer, &generation.program)
                    .map(|_| ())
                    .or_else(|error| match error {
                        CallError::Unavailable { .. } | CallError::Failed { .. } => Ok(()),
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
