//! The input and the result of a plugin's admission.

use std::sync::Arc;

use gateway_sandbox::{PluginConfig, Program};
use parking_lot::Mutex;

use crate::compile::Job;
use crate::error::AdmissionError;
use crate::file::PluginFile;
use crate::generation::{Generation, Roles};
use crate::history::Record;
use crate::trust::{self, Trust};

/// A configured plugin whose file is admitted.
pub(crate) struct Candidate {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) roles: Roles,
    pub(crate) trust: Arc<Trust>,
    pub(crate) serving: Option<Arc<Generation>>,
    /// The gateway is starting: the last good generation may serve in place of a broken file.
    pub(crate) starting: bool,
    /// The compilation in progress. It outlives one examination of the file, so that the next does not start it again.
    pub(crate) compiling: Arc<Mutex<Option<Job>>>,
}

impl Candidate {
    pub(crate) fn check_trust(
        &self,
        digest: &str,
        signature: Option<&Arc<str>>,
    ) -> Result<(), AdmissionError> {
        trust::check(&self.trust, &self.name, &self.config, digest, signature)
    }

    /// Whether the serving generation has passed its trial under this configuration.
    pub(crate) fn is_settled(&self, serving: &Generation) -> bool {
        serving.program.config == self.config && !serving.is_untried
    }

    /// Whether the version must not fall. With a pin, the operator has chosen the component, however old it is.
    pub(crate) fn asks_for_version(&self) -> bool {
        !self.trust.keys.is_empty() && self.config.sha256.is_none()
    }
}

/// The result of admission.
///
/// | `generation` | `problem` | |
/// |---|---|---|
/// | some | none | the generation serves from now on |
/// | some | some | the generation serves in place of the plugin's file |
/// | none | none | the serving generation is the file's and stays |
/// | none | some | the file is rejected; the serving generation stays, unless the file is missing |
pub(crate) struct Admitted {
    pub(crate) generation: Option<Arc<Generation>>,
    pub(crate) problem: Option<AdmissionError>,
    /// The plugin's record, as it was before admission or, once this is recorded, after it.
    pub(crate) record: Arc<Record>,
    /// The accepted file, until it is recorded as a generation.
    pub(crate) file: Option<AcceptedFile>,
}

/// A file that may serve. Its generation has no number before it is recorded.
pub(crate) struct AcceptedFile {
    pub(crate) file: Arc<PluginFile>,
    pub(crate) signature: Option<Arc<str>>,
    /// The version that a trusted key has signed. A version that nobody has verified is not recorded.
    pub(crate) version: Option<u64>,
    /// The program that passed its trial; `None` if the file's generation serves already.
    pub(crate) program: Option<Program>,
}

impl Admitted {
    /// The serving generation stays.
    pub(crate) const fn unchanged(record: Arc<Record>) -> Self {
        Self {
            generation: None,
            problem: None,
            record,
            file: None,
        }
    }

    pub(crate) fn rejected(problem: AdmissionError, record: Arc<Record>) -> Self {
        Self {
            problem: Some(problem),
            ..Self::unchanged(record)
        }
    }

    pub(crate) fn serves(generation: Generation, record: Arc<Record>) -> Self {
        Self {
            generation: Some(Arc::new(generation)),
            ..Self::unchanged(record)
        }
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.problem.as_ref().is_some_and(AdmissionError::is_missing)
    }
}
