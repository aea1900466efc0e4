//! Fields in the log for people. What terminals obey, and what ends a line, is written out.

use std::fmt::{self, Debug, Write};

use gateway_model::text::is_unsafe;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// The message, then `name=value` for each field.
pub(super) fn fields() -> impl for<'a> FormatFields<'a> + Send + Sync + 'static {
    debug_fn(write).delimited(" ")
}

fn write(line: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match field.name() {
        "message" => write!(Plain(line), "{value:?}"),
        // What the crate `log` adds: the target again, and where in the source.
        name if name.starts_with("log.") => Ok(()),
        name => write!(
            Plain(line),
            "{}={value:?}",
            name.strip_prefix("r#").unwrap_or(name)
        ),
    }
}

/// Writes control characters, and those that reorder or hide text, out as Rust does.
struct Plain<'a, 'w>(&'a mut Writer<'w>);

impl Write for Plain<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_unsafe) {
            match part.char_indices().next_back() {
                Some((at, last)) if is_unsafe(last) => {
                    self.0.write_str(part.get(..at).unwrap_or_default())?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}
