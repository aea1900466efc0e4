//! The grant `logging`: the gateway's own log.

use tracing::Level;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::v1;
use crate::guest::GuestState;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    v1::logging::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl v1::logging::Host for GuestState {
    fn log(&mut self, level: v1::logging::Level, message: String) -> wasmtime::Result<()> {
        use v1::logging::Level as Their;
        let level = match level {
            Their::Debug => Level::DEBUG,
            Their::Info => Level::INFO,
            Their::Warn => Level::WARN,
            Their::Error => Level::ERROR,
        };
        self.log.write(level, "log", &message);
        Ok(())
    }
}
