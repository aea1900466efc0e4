//! The last checks of a compiled component: its imports and exports, and a trial call.

use std::sync::Arc;
use std::time::Duration;

use gateway_sandbox::exports::{Exports, Function};
use gateway_sandbox::guest::invented_user;
use gateway_sandbox::{CallError, HostServices, Program, call, permission_provider};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Component;

use super::Admission;
use crate::candidate::Candidate;
use crate::error::AdmissionError;
use crate::generation::{Generation, Roles};
use crate::places::Ended;
use gateway_sandbox::log::LogRate;

/// The shortest time that a trial call is allowed: the machine is busy compiling.
const MIN_TRIAL: Duration = Duration::from_secs(2);

/// The longest, unless the plugin's own deadline is longer.
const MAX_TRIAL: Duration = Duration::from_secs(60);

impl Admission {
    /// Links and tries a component. A trial that takes long may start again.
    pub(crate) async fn admit(
        &self,
        candidate: &Candidate,
        component: &Component,
    ) -> Result<Program, AdmissionError> {
        let program = self
            .dispatcher
            .trials
            .run(0, |_| {
                let linked = self.link(candidate, component);
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
        Ok(self.with_memory(program))
    }

    /// Applies the current configuration to the serving generation, without waiting for a trial: a revoked grant must
    /// not stay in force until one is over. Returns `None` if only limits differ. New limits wait for a trial under
    /// them.
    ///
    /// # Errors
    /// Why it must not serve any more.
    pub(crate) fn carry(
        &self,
        candidate: &Candidate,
        serving: &Generation,
    ) -> Result<Option<Generation>, AdmissionError> {
        candidate.check_trust(&serving.digest, serving.signature.as_ref())?;
        let (old, new) = (&serving.program.config, &candidate.config);
        if old.grants.is_subset(&new.grants)
            && old.http.is_within(&new.http)
            && old.settings == new.settings
            && old.secrets == new.secrets
        {
            return Ok(None);
        }
        let program = self.with_memory(self.link(candidate, serving.program.component())?);
        let mut generation = serving.with(program);
        generation.is_untried = true;
        Ok(Some(generation))
    }

    /// Links a component and skips the trial: for authors who want to call a component that fails its trial.
    pub(crate) fn admit_untried(
        &self,
        candidate: &Candidate,
        component: &Component,
    ) -> Result<Program, AdmissionError> {
        let program = self.link(candidate, component)?;
        check_roles(&candidate.roles, &program.exports)?;
        Ok(self.with_memory(program))
    }

    fn link(&self, candidate: &Candidate, component: &Component) -> Result<Program, AdmissionError> {
        let Candidate { name, config, .. } = candidate;
        let log_rate = self.log_rate(name, config.limits.log_bytes_per_minute);
        let kept = self.engines.kept(component.engine());
        Ok(Program::link(component, name, config, log_rate, kept)?)
    }

    fn log_rate(&self, plugin: &Arc<str>, per_minute: usize) -> Arc<LogRate> {
        let mut rates = self.log_rates.lock();
        let rate = rates
            .entry(Arc::clone(plugin))
            .or_insert_with(|| Arc::new(LogRate::new(per_minute)));
        rate.set(per_minute);
        Arc::clone(rate)
    }

    /// Bounds the program's memory by the plugin's share. A trial has no such bound: it does not wait for the memory
    /// that the previous generation has.
    fn with_memory(&self, mut program: Program) -> Program {
        program.memory = Some(self.dispatcher.memory.share(&program.plugin));
        program
    }

    /// The trial: creates an instance, checks the types of its exports and, for a provider, makes one call for a user
    /// who does not exist. A provider that returns an error passes; one that traps does not. Dropping the future ends
    /// the trial.
    async fn try_out(&self, program: Program) -> Result<Program, AdmissionError> {
        let task = self.dispatcher.guests.spawn(async move {
            let user = invented_user();
            let invoke = permission_provider::invoke("trial".to_owned(), user.id.as_str().to_owned());
            let services = HostServices::trial(user);
            let limit = program.config.limits.deadline;
            let allowed = limit.saturating_mul(4).clamp(MIN_TRIAL, MAX_TRIAL.max(limit));
            let deadline = Instant::now() + allowed;
            let function = Function::ALL
                .into_iter()
                .find(|function| program.exports.has(*function))
                .unwrap_or(Function::GetPermissions);
            let types = call::run(
                &program,
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
            if program.exports.has(Function::GetPermissions) {
                let (answer, _) = call::run(
                    &program,
                    Function::GetPermissions,
                    services,
                    deadline,
                    None,
                    invoke,
                )
                .await;
                // defence: trial-call-decides (a test fails without it: docs/defences.md)
                let answer = answer.map_err(|failure| AdmissionError::Trial(Box::new(failure)))?;
                match permission_provider::check(answer, &program) {
                    Ok(_) | Err(CallError::Unavailable { .. } | CallError::Failed { .. }) => {}
                    Err(error) => return Err(AdmissionError::Trial(Box::new(error.into()))),
                }
            }
            Ok(program)
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
