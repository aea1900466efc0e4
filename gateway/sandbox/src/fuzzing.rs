//! Private functions that the fuzz targets (`docs/fuzzing.md`) call without a component. Not part of the interface.

pub use crate::answer::{attributes, message, permissions, reason};
pub use crate::bindings::types::{Permission, Value};
pub use crate::text::printable;
