//! Control characters, and characters that reorder or hide text, are spelled out in the log.
//!
//! serde_json escapes the controls of ASCII, and tracing-subscriber some of those in messages. Neither escapes what else
//! [`is_unsafe`] names, and a text log would have line breaks in its lines.

use std::fmt;
use std::io::{self, Write};

use gateway_model::text::is_unsafe;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// Passes lines of JSON on, one in each write. An unsafe character can only be inside of a JSON string, where it becomes
/// `\u….`.
pub(super) struct JsonLines<W>(pub(super) W);

impl<W: Write> Write for JsonLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let object = line.strip_suffix(b"\n").unwrap_or(line);
        // Nearly every line is ASCII. This looks at many bytes at once, because it does not stop at the first other one.
        let is_plain = |plain, byte: &u8| plain & matches!(byte, b' '..=b'~');
        if object.iter().fold(true, is_plain) {
            self.0.write_all(line)?;
        } else {
            let text = escaped(&String::from_utf8_lossy(object), |character, text| {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            });
            self.0.write_all((text + "\n").as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Formats the fields of a text log: the message, then `name=value`.
pub(super) struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut line: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        line.write_str(&escaped(&text, |character, text| {
            text.extend(character.escape_default());
        }))
    }
}

/// Returns `text` with what `escape` writes in place of each unsafe character.
fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            escape(character, &mut safe);
        } else {
            safe.push(character);
        }
    }
    safe
}
