//! Compiled code.

/// Compiled code that is the gateway's own: compiled in this process, or sent by a compiler process through its pipe.
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
