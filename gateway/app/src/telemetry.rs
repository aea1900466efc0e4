//! The log: one line per event, JSON or text, on stderr.

use std::io::{self, IsTerminal as _};
use std::panic::{self, PanicHookInfo};

use anyhow::{Context as _, Result};
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogConfig;

use self::format::{Json, TextFields};

pub(crate) use self::writer::Guard;

mod format;
mod writer;

/// Starts the log for the whole process, including panics.
pub(crate) fn init(log: &LogConfig) -> Result<Guard> {
    let stderr = io::stderr();
    let is_terminal = stderr.is_terminal();
    let (writer, guard) = writer::start(stderr);
    let lines = lines(log, move || writer.clone(), is_terminal)?;
    lines.try_init().context("the log cannot be started")?;
    panic::set_hook(Box::new(note));
    Ok(guard)
}

/// Logs where a panic happened, but not its message, which may quote input, such as a token.
fn note(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    tracing::error!(
        location = location.as_deref().unwrap_or("unknown"),
        "a panic: a bug in the gateway"
    );
}

/// Formats each event as a line, and each line as one write to a `writer`. `colours` are for a text log on a terminal.
fn lines<W: io::Write + 'static>(
    log: &LogConfig,
    writer: impl Fn() -> W + Send + Sync + 'static,
    colours: bool,
) -> Result<Dispatch> {
    let mut filter =
        EnvFilter::try_new(&log.filter).with_context(|| format!("the log filter {:?}", log.filter))?;
    // The plugin host reports a missing directory better than this crate.
    if !log.filter.contains("notify") {
        filter = filter.add_directive("notify=error".parse()?);
    }
    // It reports a migration whenever a schema is compared with a fresh one. The store logs the real ones.
    if !log.filter.contains("rusqlite_migration") {
        filter = filter.add_directive("rusqlite_migration=warn".parse()?);
    }
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(if log.json {
        lines.event_format(Json).finish().into()
    } else {
        let lines = lines.compact().with_ansi(colours);
        lines.fmt_fields(TextFields).finish().into()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::{io, panic};

    use parking_lot::Mutex;
    use serde_json::Value;
    use tracing::dispatcher;

    use super::{lines, note};
    use crate::config::LogConfig;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns what is written about some events.
    fn written(json: bool, filter: &str, events: impl FnOnce()) -> String {
        coloured(json, filter, false, events)
    }

    fn coloured(json: bool, filter: &str, colours: bool, events: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let log = LogConfig {
            json,
            filter: filter.to_owned(),
        };
        let lines = lines(&log, move || writer.clone(), colours).unwrap();
        dispatcher::with_default(&lines, events);
        let bytes = std::mem::take(&mut *buffer.0.lock());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_flat_object_per_event() {
        let hostile = "a\r\n{\"level\":\"ERROR\"}\u{1b}[31m\u{2028}\u{9b}\u{7f}\u{202e}\u{e0041}\"\\\t";
        let text = written(true, "info", || {
            tracing::info!(target: "gateway::request", route = hostile, status = 200_u16, "{hostile}");
            tracing::warn!(nothing = f64::NAN, half = 0.5, minus = -1, yes = true, debug = ?hostile, "second");
            let args = format_args!("{hostile}");
            let mut record = log::Record::builder();
            record.level(log::Level::Error).target("elsewhere");
            tracing_log::format_trace(&record.args(args).build()).unwrap();
        });
        assert!(text.ends_with('\n'));
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [first, second, third] = &lines[..] else {
            panic!("{text}")
        };
        assert_eq!(first["route"], hostile);
        assert_eq!(first["message"], hostile);
        assert_eq!(first["status"], 200);
        assert_eq!(first["level"], "INFO");
        assert_eq!(first["target"], "gateway::request");
        let time = first["timestamp"].as_str().unwrap();
        assert!(
            time.contains('T') && time.ends_with('Z') && time.len() == 27,
            "{time}"
        );
        assert!(second["nothing"].is_null(), "{second}");
        assert_eq!(second["half"], 0.5);
        assert_eq!(second["minus"], -1);
        assert_eq!(second["yes"], true);
        assert_eq!(second["debug"], format!("{hostile:?}"));
        assert_eq!(third["message"], hostile);
        assert_eq!(third["target"], "elsewhere");
        assert!(
            !text.contains(['\u{1b}', '\u{9b}', '\u{7f}', '\u{2028}', '\u{202e}', '\u{e0041}']),
            "{text:?}"
        );
    }

    #[test]
    fn text_is_one_line_per_event_without_escape_sequences() {
        let events = |text: &'static str| {
            move || {
                tracing::info!(field = text, shown = %text, r#type = ?text, "{text}");
                let mut record = log::Record::builder();
                record.level(log::Level::Error).target("elsewhere");
                tracing_log::format_trace(&record.args(format_args!("{text}")).build()).unwrap();
            }
        };
        let hostile = "a\r\nb\u{1b}[31m\u{9b}\u{7f}\u{85}\u{202e}\u{e0041}";
        let text = written(false, "info", events(hostile));
        let lines: Vec<&str> = text.lines().collect();
        let [first, second] = &lines[..] else {
            panic!("{text:?}")
        };
        let escaped = "a\\r\\nb\\u{1b}[31m\\u{9b}\\u{7f}\\u{85}\\u{202e}\\u{e0041}";
        // tracing-subscriber itself escapes a message.
        let message = escaped.replace("\\u{1b}", "\\x1b").replace("\\u{7f}", "\\x7f");
        assert!(first.contains(&format!(" {message} ")), "{first:?}");
        for name in ["field", "type"] {
            assert!(first.contains(&format!(" {name}=\"{escaped}\"")), "{first:?}");
        }
        assert!(first.contains(&format!(" shown={escaped}")), "{first:?}");
        assert!(second.contains(&format!(" elsewhere: {message}")), "{second:?}");
        let odd = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{e0041}');
        assert!(!lines.concat().contains(odd), "{text:?}");

        // With colours, only the formatter's own sequences are left.
        let text = coloured(false, "info", true, events(hostile));
        let harmless = coloured(false, "info", true, events("a"));
        let controls = |text: &str| text.chars().filter(|c| odd(*c)).collect::<String>();
        assert_eq!(controls(&text), controls(&harmless));
        assert!(controls(&harmless).contains('\u{1b}'), "{harmless:?}");
    }

    #[test]
    fn unsafe_unicode_characters_are_escaped() {
        let every: String = (char::MIN..=char::MAX).collect();
        for (json, colours) in [(true, false), (false, false), (false, true)] {
            let text = coloured(json, "info", colours, || {
                tracing::info!(shown = %every, debug = ?every, text = every, "{every}");
            });
            let line = text.strip_suffix('\n').unwrap();
            // With colours, the formatter's own sequences.
            let is_unsafe = |c: char| gateway_model::text::is_unsafe(c) && !(colours && c == '\u{1b}');
            assert_eq!(line.find(is_unsafe), None);
            if json {
                let line: Value = serde_json::from_str(line).unwrap();
                for field in ["shown", "text", "message"] {
                    assert!(line[field] == every.as_str(), "{field}");
                }
            }
        }
    }

    #[test]
    fn the_filter_selects_events() {
        let text = written(true, "warn,gateway=debug", || {
            tracing::info!(target: "other", "no");
            tracing::debug!(target: "gateway::x", "yes");
        });
        assert!(text.contains("yes") && !text.contains("\"no\""), "{text}");
        let log = LogConfig {
            json: true,
            filter: "gateway=loud=very".to_owned(),
        };
        assert!(lines(&log, io::sink, false).is_err());
    }

    #[test]
    fn a_panic_is_logged_with_its_location_only() {
        let text = written(true, "info", || {
            let usual = panic::take_hook();
            panic::set_hook(Box::new(note));
            panic::catch_unwind(|| panic!("canary")).unwrap_err();
            panic::set_hook(usual);
        });
        let line: Value = serde_json::from_str(text.trim_end()).unwrap();
        let location = line["location"].as_str().unwrap();
        assert!(location.starts_with(file!()), "{location}");
        assert_eq!(line["level"], "ERROR");
        assert!(!text.contains("canary"), "{text}");
    }
}
