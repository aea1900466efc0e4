//! The grant `logging`: lines in the gateway's log.

use tracing::Level;
use wasmtime::component::HasSelf;

use self::wit::logging;
use super::linker::Definition;
use crate::guest::GuestState;

/// Generated from `wit/logging.wit`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod wit {
    wasmtime::component::bindgen!({
        path: "../../wit",
        interfaces: "import auth-gateway:plugin/logging@1.0.0;",
        imports: { default: trappable },
    });
    pub(super) use self::auth_gateway::plugin::logging;
}

pub(super) const DEFINITION: Definition = Definition {
    name: "logging",
    imports: &["auth-gateway:plugin/logging@1.0.0"],
    wit: Some(include_str!("../../../../wit/logging.wit")),
    link: |linker| logging::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state),
};

impl logging::Host for GuestState {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        use logging::Level as Their;
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
