//! Compiled code between a file and a component: private memory that is written once, and mapped into place rather than
//! copied. Wasmtime also takes the first pages of each instance's memory from it.

use std::io::{self, Write};

use wasmtime::Engine;
use wasmtime::component::Component;

#[derive(Debug)]
pub(crate) struct Memory(Inner);

#[cfg(target_os = "linux")]
type Inner = std::fs::File;
#[cfg(not(target_os = "linux"))]
type Inner = Vec<u8>;

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(target_os = "linux")]
impl Memory {
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::fs::MemfdFlags;
        use rustix::io::Errno;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let create = |flags| rustix::fs::memfd_create("compiled-component", flags);
        // Hardened systems require NOEXEC_SEAL, and old ones do not know it.
        let memory = match create(flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => create(flags)?,
            memory => memory?,
        };
        Ok(Self(memory.into()))
    }

    /// Seals the written code and loads it.
    ///
    /// # Safety
    /// As for [`Component::deserialize`]: the code must be the gateway's own.
    #[expect(
        unsafe_code,
        reason = "the caller vouches for the bytes, the seals keep them as they are"
    )]
    pub(crate) unsafe fn into_component(self, engine: &Engine) -> wasmtime::Result<Component> {
        use std::io::{Read as _, Seek as _};
        use std::os::fd::AsRawFd as _;

        use rustix::fs::SealFlags;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&self.0, seals)?;
        // Its only name.
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        if std::path::Path::new(&path).exists() {
            // SAFETY: the caller's, and sealed memory stays as it is.
            return unsafe { Component::deserialize_file(engine, path) };
        }
        // No /proc, as in a bare chroot: then it has to be copied.
        let mut bytes = Vec::new();
        let mut memory = self.0;
        memory.rewind()?;
        memory.read_to_end(&mut bytes)?;
        // SAFETY: the caller's.
        unsafe { Component::deserialize(engine, bytes) }
    }
}

#[cfg(not(target_os = "linux"))]
impl Memory {
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Vec::new()))
    }

    /// Loads the written code.
    ///
    /// # Safety
    /// As for [`Component::deserialize`]: the code must be the gateway's own.
    #[expect(unsafe_code, reason = "the caller vouches for the bytes")]
    pub(crate) unsafe fn into_component(self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the caller's.
        unsafe { Component::deserialize(engine, self.0) }
    }
}
