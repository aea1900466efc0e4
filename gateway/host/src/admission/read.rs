//! Reads plugins' files and signatures, with a bound on the memory that files take together.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::blocking::blocking;
use crate::candidate::Candidate;
use crate::directory::{PluginDirectory, Presence};
use crate::error::AdmissionError;
use crate::file::PluginFile;

/// Mebibytes of plugins' files in memory at the same time, for any number of plugins: three of the largest.
const LARGE_FILES: u32 = 384;
/// Mebibytes of small files in memory at the same time. They do not wait for large ones that take minutes to compile.
const SMALL_FILES: u32 = 128;
/// Mebibytes of the largest small file.
const SMALL: u32 = 8;

pub(super) struct Reader {
    directory: Arc<PluginDirectory>,
    guests: Handle,
    /// In mebibytes.
    large_files: Arc<Semaphore>,
    small_files: Arc<Semaphore>,
}

impl Reader {
    pub(super) fn new(directory: Arc<PluginDirectory>, guests: Handle) -> Self {
        Self {
            directory,
            guests,
            large_files: Arc::new(Semaphore::new(LARGE_FILES as usize)),
            small_files: Arc::new(Semaphore::new(SMALL_FILES as usize)),
        }
    }

    /// Reads a plugin's file, of at most `max` bytes. The inner error is about the file: it is missing only if the
    /// directory says so.
    pub(super) async fn read(
        &self,
        plugin: &Arc<str>,
        max: u64,
    ) -> Result<Result<PluginFile, AdmissionError>, AdmissionError> {
        let size = match self.look(plugin).await? {
            Presence::Here(stamp) => stamp.size.min(max),
            _ => 0,
        };
        let mebibytes = u32::try_from(size.div_ceil(1 << 20))
            .unwrap_or(LARGE_FILES)
            .max(1);
        let files = if mebibytes <= SMALL {
            &self.small_files
        } else {
            &self.large_files
        };
        let memory = Arc::clone(files).acquire_many_owned(mebibytes.min(LARGE_FILES));
        let memory = memory.await.ok();
        let (directory, plugin) = (Arc::clone(&self.directory), Arc::clone(plugin));
        let read = blocking(&self.guests, move || directory.read(&plugin, max)).await?;
        Ok(read.map(|file| PluginFile {
            _memory: memory.map(Arc::new),
            ..file
        }))
    }

    /// Reads a plugin's signature. One that cannot be read counts as none if signatures are not required.
    pub(super) async fn read_signature(
        &self,
        candidate: &Candidate,
    ) -> Result<Option<Arc<str>>, AdmissionError> {
        let (directory, plugin) = (Arc::clone(&self.directory), Arc::clone(&candidate.name));
        match blocking(&self.guests, move || directory.read_signature(&plugin)).await? {
            Ok(signature) => Ok(signature.map(Arc::from)),
            Err(error) if candidate.trust.keys.is_empty() => {
                tracing::warn!(
                    plugin = &*candidate.name,
                    "the plugin's signature is ignored: {error}"
                );
                Ok(None)
            }
            Err(error) => Err(AdmissionError::NotASignature(Box::new(error))),
        }
    }

    pub(super) async fn look(&self, plugin: &Arc<str>) -> Result<Presence, AdmissionError> {
        let (directory, plugin) = (Arc::clone(&self.directory), Arc::clone(plugin));
        blocking(&self.guests, move || directory.look(&plugin)).await
    }
}
