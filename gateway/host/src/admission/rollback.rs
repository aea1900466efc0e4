//! Rollback: an operator goes back to the generation before the serving one, which serves until the file changes.

use std::sync::Arc;

use super::Admission;
use super::trial::check_roles;
use crate::candidate::{Admitted, Candidate};
use crate::directory::Presence;
use crate::error::{AdmissionError, RollbackError};
use crate::generation::Generation;
use crate::history::{Record, RolledBack};

impl Admission {
    /// Admits the generation before the serving one under the configuration as it is now. Changes nothing:
    /// [`Admission::roll_back`] does.
    pub(crate) async fn prepare_rollback(
        &self,
        candidate: &Candidate,
    ) -> Result<(Generation, RolledBack), RollbackError> {
        let name = &candidate.name;
        let failed = |error: AdmissionError| RollbackError::Failed {
            plugin: name.to_string(),
            reason: error.to_string(),
        };
        let withdrawn = || RollbackError::Withdrawn {
            plugin: name.to_string(),
        };
        crate::file::path(self.directory.path(), name).map_err(failed)?;
        let record = self.record_of(name).await.map_err(failed)?;
        let is_absent = self.reader.look(name).await.map_err(failed)? == Presence::Absent;
        if is_absent || record.withdrawn {
            return Err(withdrawn());
        }
        let current = match (&candidate.serving, record.in_force()) {
            (Some(serving), _) => serving.number,
            (None, Some(kept)) => kept.number,
            (None, None) => record.last,
        };
        let kept = record.before(current).ok_or_else(|| RollbackError::Oldest {
            plugin: name.to_string(),
            number: current,
        })?;
        let to = kept.number;
        let (restored, read) = tokio::join!(
            self.restore(candidate, kept),
            self.reader.read(name, self.compiler.max_size())
        );
        let generation = restored.map_err(|error| RollbackError::Refused {
            plugin: name.to_string(),
            number: to,
            reason: error.to_string(),
        })?;
        let file = match read.map_err(failed)? {
            Ok(file) => Some(file.digest),
            Err(error) if error.is_missing() => return Err(withdrawn()),
            // The file that was accepted last is the one that will be there again.
            Err(AdmissionError::Away { .. } | AdmissionError::Elsewhere { .. }) => {
                record.generations.last().map(|kept| kept.digest.to_string())
            }
            Err(_) => None,
        };
        Ok((generation, RolledBack { to, file }))
    }

    /// Records a rollback. If that fails, nothing has changed.
    pub(crate) async fn roll_back(
        &self,
        name: &Arc<str>,
        (generation, back): (Generation, RolledBack),
    ) -> Result<Admitted, RollbackError> {
        let failed = |reason: String| RollbackError::Failed {
            plugin: name.to_string(),
            reason,
        };
        let (history, plugin) = (Arc::clone(&self.history), Arc::clone(name));
        let recorded = self
            .blocking(move || history.roll_back(&plugin, back))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let record = recorded
            .map_err(|error| failed(format!("it cannot be recorded, so it would not last: {error}")))?;
        Ok(Admitted::serves(generation, Arc::new(record)))
    }

    /// Returns what serves while a rollback to generation `to` holds, under the configuration as it is now.
    pub(super) async fn hold(
        &self,
        candidate: &Candidate,
        record: &Arc<Record>,
        to: u64,
    ) -> Result<Admitted, AdmissionError> {
        let rejected = |reason: String| AdmissionError::RolledBack { to, reason };
        let kept = record
            .find(to)
            .ok_or_else(|| rejected("it is no longer kept".to_owned()))?;
        if let Some(serving) = &candidate.serving
            && serving.number == to
            && candidate.is_settled(serving)
        {
            candidate.check_trust(&serving.digest, serving.signature.as_ref())?;
            check_roles(&candidate.roles, &serving.program.exports)?;
            return Ok(Admitted::unchanged(Arc::clone(record)));
        }
        match self.restore(candidate, kept).await {
            Ok(generation) => Ok(Admitted::serves(generation, Arc::clone(record))),
            Err(error) => Err(rejected(error.to_string())),
        }
    }
}
