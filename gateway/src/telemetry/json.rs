//! An event as a line of JSON: `timestamp` (RFC 3339, UTC, microseconds), `level`, the event's own fields,
//! `target`. Written straight into the line, because each request pays for it.

use std::cell::Cell;
use std::fmt::{self, Debug, Write as _};

use gateway_model::SystemClock;
use gateway_model::text::is_unsafe;
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // Where it came through the crate `log`, the real target is among its fields.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        line.write_str("{\"timestamp\":\"")?;
        write_now(&mut line)?;
        line.write_str("\",\"level\":\"")?;
        line.write_str(metadata.level().as_str())?;
        line.write_char('"')?;
        let mut fields = Fields {
            line: &mut line,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        line.write_str(",\"target\":\"")?;
        Escaped(&mut line).write_str(metadata.target())?;
        line.write_str("\"}\n")
    }
}

/// Writes an event's fields, each after a comma.
struct Fields<'a, 'w> {
    line: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn field(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        // What the crate `log` adds: the target again, and where in the source.
        if self.result.is_err() || field.name().starts_with("log.") {
            return;
        }
        // `r#type` is how Rust spells a field that is called `type`.
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        self.result = (|| {
            self.line.write_str(",\"")?;
            Escaped(self.line).write_str(name)?;
            self.line.write_str("\":")?;
            write(self.line)
        })();
    }

    fn text(&mut self, field: &Field, text: impl fmt::Display) {
        self.field(field, |line| {
            line.write_char('"')?;
            write!(Escaped(line), "{text}")?;
            line.write_char('"')
        });
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |line| write!(line, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |line| write!(line, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.field(field, |line| write!(line, "{value}"));
        } else {
            self.text(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}

/// Whether a byte stands for itself, whatever comes before and after it.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

/// The inside of a JSON string (RFC 8259 section 7). What terminals obey, and what reorders or hides text, is
/// escaped too.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Most texts are: to decode their characters would cost more than the rest of the line.
        if text.bytes().all(is_plain) {
            return self.0.write_str(text);
        }
        let mut rest = text;
        while let Some(at) = rest.find(|char: char| is_unsafe(char) || matches!(char, '"' | '\\')) {
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = special.chars();
            match chars.next() {
                Some('\n') => self.0.write_str("\\n")?,
                Some('\r') => self.0.write_str("\\r")?,
                Some('\t') => self.0.write_str("\\t")?,
                Some(char @ ('"' | '\\')) => write!(self.0, "\\{char}")?,
                // Beyond the first plane it takes two.
                Some(char) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        write!(self.0, "\\u{unit:04x}")?;
                    }
                }
                None => {}
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Date and time of a second, as they are written.
type Second = (i64, [u8; 19]);

/// Writes the time. The part up to the second is the same for many lines.
fn write_now(line: &mut Writer<'_>) -> fmt::Result {
    thread_local! {
        static LAST: Cell<Second> = const { Cell::new((i64::MIN, [0; 19])) };
    }
    // A line says when it was written, whatever the application's clock says.
    let now = SystemClock::since_epoch()
        .and_then(|since| OffsetDateTime::UNIX_EPOCH.checked_add(since.try_into().ok()?))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (mut second, mut text) = LAST.get();
    if second != now.unix_timestamp() {
        second = now.unix_timestamp();
        text = date_and_time(now);
        LAST.set((second, text));
    }
    line.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)?;
    write!(line, ".{:06}Z", now.microsecond())
}

fn date_and_time(at: OffsetDateTime) -> [u8; 19] {
    let mut text = *b"0000-00-00T00:00:00";
    let numbers = [
        (0, 4, at.year().unsigned_abs()),
        (5, 2, u32::from(u8::from(at.month()))),
        (8, 2, at.day().into()),
        (11, 2, at.hour().into()),
        (14, 2, at.minute().into()),
        (17, 2, at.second().into()),
    ];
    for (from, digits, mut number) in numbers {
        for place in text.iter_mut().skip(from).take(digits).rev() {
            *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::date_and_time;

    #[test]
    fn dates_are_written_in_full() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00"),
            (1_709_210_096, "2024-02-29T12:34:56"),
            (253_402_300_799, "9999-12-31T23:59:59"),
        ] {
            let at = OffsetDateTime::from_unix_timestamp(second).unwrap();
            assert_eq!(std::str::from_utf8(&date_and_time(at)), Ok(text));
        }
    }
}
