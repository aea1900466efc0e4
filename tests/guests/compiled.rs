//! Compiled code that tests share. Each test has a gateway or a host with its own cache, and would compile the same
//! guests again, which would be most of the tests' time.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The key of all these caches, in the form of the plugin host.
const KEY: &[u8; 32] = b"the key of the caches of tests..";

/// The cache entries of one build of a program.
#[derive(Debug)]
pub struct Compiled(PathBuf);

impl Compiled {
    /// The entries of a program. A new build starts without any, so that a test sees only code compiled by the program
    /// that it tests.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn by(program: &Path) -> io::Result<Self> {
        let built = fs::metadata(program)?.modified()?;
        let built = built.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let name = program.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let all = Path::new(env!("OUT_DIR")).join("compiled").join(name);
        let own = all.join(built.as_nanos().to_string());
        if !own.exists() {
            // Another test may do the same.
            let _ = fs::remove_dir_all(&all);
            fs::create_dir_all(&own)?;
        }
        Ok(Self(own))
    }

    /// Makes a cache unless there is one, and adds the entry of the component with this digest, if any.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub fn lend(&self, digest: &str, cache: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(cache)?;
        let mut private = OpenOptions::new();
        private.write(true).create_new(true).mode(0o600);
        if let Ok(mut key) = private.open(cache.join("key")) {
            key.write_all(KEY)?;
        }
        for entry in entries(&self.0)?.filter(|name| name.starts_with(digest)) {
            let bytes = fs::read(self.0.join(&entry))?;
            if let Ok(mut file) = private.open(cache.join(&entry)) {
                file.write_all(&bytes)?;
            }
        }
        Ok(())
    }

    /// Copies new entries from such a cache.
    ///
    /// # Errors
    /// If the entries cannot be copied.
    pub fn keep(&self, cache: &Path) -> io::Result<()> {
        if !fs::read(cache.join("key")).is_ok_and(|key| key == KEY) {
            return Ok(());
        }
        for entry in entries(cache)?.filter(|name| !self.0.join(name).exists()) {
            // With the process id, because tests run at the same time and must not see half an entry.
            let new = self.0.join(format!(".{}-{entry}", std::process::id()));
            fs::copy(cache.join(&entry), &new)?;
            fs::rename(new, self.0.join(&entry))?;
        }
        Ok(())
    }
}

/// The names of the entries in a directory.
fn entries(directory: &Path) -> io::Result<impl Iterator<Item = String>> {
    let names = fs::read_dir(directory)?.flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    Ok(names.filter(|name| name.ends_with(".cwasm") && !name.starts_with('.')))
}
