//! Generations that serve in place of a file that is broken or still compiling.

use std::sync::Arc;

use super::Admission;
use crate::candidate::{Admitted, Candidate};
use crate::error::AdmissionError;
use crate::generation::Generation;
use crate::history::{KeptGeneration, Record};

impl Admission {
    /// Returns the generation that serves in place of a broken file: at the start, the last good one; later, the
    /// serving one under the configuration as it is now. Returns `None` if the serving one can stay as it is.
    pub(super) async fn stand_in(&self, candidate: &Candidate, record: &Record) -> Option<Generation> {
        if let Some(serving) = &candidate.serving {
            if candidate.is_settled(serving) {
                return None;
            }
            candidate
                .check_trust(&serving.digest, serving.signature.as_ref())
                .ok()?;
            let program = self.admit(candidate, serving.program.component()).await.ok()?;
            return Some(serving.with(program));
        }
        if !candidate.starting {
            return None;
        }
        match self.restore(candidate, record.in_force()?).await {
            Ok(generation) => Some(generation),
            Err(error) => {
                tracing::warn!(
                    plugin = &*candidate.name,
                    "the plugin's last good generation cannot serve in place of its file: {error}"
                );
                None
            }
        }
    }

    /// Returns the generation that serves at the start while a new file is compiled: the last good one, if the cache
    /// has its code and not the file's.
    pub(crate) async fn interim(&self, candidate: &Candidate) -> Option<Admitted> {
        let record = self.record_of(&candidate.name).await.ok()?;
        let kept = record.in_force()?;
        let read = self.reader.read(&candidate.name, self.compiler.max_size());
        let file = Arc::new(read.await.ok()?.ok()?);
        if *file.digest == *kept.digest || self.compiler.cached(&file).await.ok()?.is_some() {
            return None;
        }
        drop(file);
        let before = self.kept_file(kept).await.ok()??;
        self.compiler.cached(&Arc::new(before)).await.ok()??;
        let generation = self.restore(candidate, kept).await.ok()?;
        Some(Admitted::serves(generation, Arc::new(record)))
    }

    /// Admits a kept generation as if it were a file.
    pub(super) async fn restore(
        &self,
        candidate: &Candidate,
        kept: &KeptGeneration,
    ) -> Result<Generation, AdmissionError> {
        candidate.check_trust(&kept.digest, kept.signature.as_ref())?;
        let known = self.code.lock().get(&kept.digest).cloned();
        let component = match known {
            Some(component) => component,
            None => {
                let file = self.kept_file(kept).await?;
                let file = file.ok_or(AdmissionError::NotKept { number: kept.number })?;
                self.compile(candidate, Arc::new(file)).await?
            }
        };
        let program = self.admit(candidate, &component).await?;
        Ok(Generation::of(kept, program))
    }
}
