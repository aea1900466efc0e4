//! The formats of the log, JSON and text. In both, control characters and characters that reorder or hide text are
//! escaped.
//!
//! tracing-subscriber has both formats, too. Its JSON takes four times as long, because it validates each piece that
//! serde_json writes, such as each comma, and every request pays for its line. Its text format does not escape what a
//! field displays.

use std::borrow::Cow;
use std::fmt;

use gateway_model::text::is_unsafe;
use serde::ser::{SerializeMap as _, Serializer as _};
use tracing::{Event, Metadata, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_serde::SerdeMapVisitor;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events as lines of JSON: `timestamp` (RFC 3339, UTC, microseconds), `level`, the event's fields, `target`.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // The target of an event from the crate `log` is one of its fields.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut time = String::with_capacity(32);
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let object = object(&time, metadata, event).map_err(|_| fmt::Error)?;
        let object = str::from_utf8(&object).map_err(|_| fmt::Error)?;
        // An unsafe character can only be in a JSON string.
        line.write_str(&escaped(object, |character, text| {
            for unit in character.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }))?;
        line.write_char('\n')
    }
}

fn object(time: &str, metadata: &Metadata<'_>, event: &Event<'_>) -> serde_json::Result<Vec<u8>> {
    let mut object = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::new(&mut object);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", time)?;
    map.serialize_entry("level", metadata.level().as_str())?;
    let mut fields = SerdeMapVisitor::new(map);
    event.record(&mut fields);
    let mut map = fields.take_serializer()?;
    map.serialize_entry("target", metadata.target())?;
    map.end()?;
    Ok(object)
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

/// Replaces each unsafe character with what `escape` writes.
fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    // Nearly every text is ASCII. The fold is vectorized, because it does not stop early.
    let is_plain = |plain, byte| plain & matches!(byte, b' '..=b'~');
    if text.bytes().fold(true, is_plain) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            escape(character, &mut safe);
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}
