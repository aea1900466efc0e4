//! Going back to the generation before the one that serves.

use std::sync::Arc;

use super::{Admission, Candidate};
use crate::directory::Presence;
use crate::error::{AdmissionError, RollbackError};
use crate::generation::Generation;
use crate::history::RolledBack;
use crate::registry::{Loaded, Settled};

/// A generation that may serve again, before it does.
pub(crate) struct Prepared {
    generation: Box<Generation>,
    back: RolledBack,
}

impl Admission {
    /// Admits the generation before the serving one against the configuration as it is now. Changes nothing.
    ///
    /// # Errors
    /// Why it cannot serve.
    pub(crate) async fn prepare_rollback(&self, candidate: &Candidate) -> Result<Prepared, RollbackError> {
        let name = &candidate.name;
        let failed = |error: AdmissionError| RollbackError::Failed {
            plugin: name.to_string(),
            reason: error.to_string(),
        };
        let withdrawn = || RollbackError::Withdrawn {
            plugin: name.to_string(),
        };
        self.path(name).map_err(failed)?;
        let record = self.record(name).await.map_err(failed)?;
        let is_absent = self.look(name).await.map_err(failed)? == Presence::Absent;
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
        let (restored, read) = tokio::join!(self.restore(candidate, kept), self.read(name));
        let generation = restored.map_err(|error| RollbackError::Refused {
            plugin: name.to_string(),
            number: to,
            reason: error.to_string(),
        })?;
        let file = match read.map_err(failed)? {
            Ok(file) => Some(file.digest),
            Err(error) if error.is_missing() => return Err(withdrawn()),
            // What was taken last is what will be there again.
            Err(AdmissionError::Away { .. } | AdmissionError::Elsewhere { .. }) => {
                record.generations.last().map(|kept| kept.digest.to_string())
            }
            Err(_) => None,
        };
        Ok(Prepared {
            generation,
            back: RolledBack { to, file },
        })
    }

    /// Puts on record that the generation is to serve.
    ///
    /// # Errors
    /// When that cannot be written. Then nothing is changed.
    pub(crate) async fn roll_back(
        &self,
        name: &Arc<str>,
        prepared: Prepared,
    ) -> Result<Settled, RollbackError> {
        let failed = |reason: String| RollbackError::Failed {
            plugin: name.to_string(),
            reason,
        };
        let Prepared { generation, back } = prepared;
        let (history, plugin) = (Arc::clone(&self.history), Arc::clone(name));
        let recorded = self
            .blocking(move || history.roll_back(&plugin, back))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let record = recorded
            .map_err(|error| failed(format!("it cannot be recorded, and would not last: {error}")))?;
        Ok(Settled {
            result: Ok(Loaded::New(generation, None)),
            record: Arc::new(record),
        })
    }
}
