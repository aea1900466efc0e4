//! Compiled code that tests share. Each has a gateway or a host with a cache of its own, and would compile the same few
//! guests hundreds of times: most of what the tests cost.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The key of every cache that entries are lent to, as the plugin host has it in its cache.
const KEY: &[u8; 32] = b"the key of the caches of tests..";

/// The entries that one build of a program has made, for caches of that build.
#[derive(Debug)]
pub struct Compiled(PathBuf);

impl Compiled {
    /// Those of a program. None are left once it is built anew: what a test sees is compiled by what it tests.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn by(program: &Path) -> io::Result<Self> {
        let built = fs::metadata(program)?.modified()?;
        let built = built.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let name = program.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let all = Path::new(env!("OUT_DIR")).join("compiled").join(name);
        let own = all.join(built.as_nanos().to_string());
        if !own.exists() {
            // Another test may be doing the same.
            let _ = fs::remove_dir_all(&all);
            fs::create_dir_all(&own)?;
        }
        Ok(Self(own))
    }

    /// Makes a cache where there is none yet, and puts the entry of the component with this digest into it, if there is one.
    ///
    /// # Errors
    /// When the cache cannot be written.
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

    /// Takes over what has been compiled in a cache that this made.
    ///
    /// # Errors
    /// When the entries cannot be copied.
    pub fn keep(&self, cache: &Path) -> io::Result<()> {
        if !fs::read(cache.join("key")).is_ok_and(|key| key == KEY) {
            return Ok(());
        }
        for entry in entries(cache)?.filter(|name| !self.0.join(name).exists()) {
            // The process's id: tests run at the same time. Nobody sees half an entry.
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
