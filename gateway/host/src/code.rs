//! Compiled code.

/// Compiled code of our own making: made here, or sent by a process that we started, through its own pipe.
pub(crate) struct Code(Vec<u8>);

impl Code {
    pub(crate) const fn new(code: Vec<u8>) -> Self {
        Self(code)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn of(component: &wasmtime::component::Component) -> Self {
        Self(component.serialize().unwrap())
    }
}
