//! The log: one line an event, JSON or text, on stderr.

use std::fmt;
use std::io::IsTerminal as _;
use std::panic::{self, PanicHookInfo};

use anyhow::{Context as _, Result};
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogConfig;

use self::json::Json;
use self::writer::{Ending, Lines};

pub(crate) use self::writer::DROPPED;

mod json;
mod text;
mod writer;

/// Keeps the log going.
#[must_use = "the log ends when this is dropped"]
pub struct Guard {
    /// Writes what is still waiting when it is dropped.
    _writer: Ending,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// Starts the log for the whole process, panics included. What is still waiting is written when the guard
/// is dropped.
///
/// # Errors
/// When the filter makes no sense, or the log has been started before.
pub fn init(log: &LogConfig) -> Result<Guard> {
    let writer = Lines::default();
    let lines = lines(log, writer.clone(), std::io::stderr().is_terminal())?;
    let ending = writer
        .write_to(std::io::stderr())
        .context("the log's thread cannot be started")?;
    lines.try_init().context("the log cannot be started")?;
    panic::set_hook(Box::new(note));
    Ok(Guard { _writer: ending })
}

/// A panic is a line like any other. It says where, which leads to the mistake, and not what: the message
/// may quote what was being read, a token for one.
fn note(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    tracing::error!(
        location = location.as_deref().unwrap_or("unknown"),
        "a panic: a mistake in the gateway"
    );
}

/// What writes lines. `colours` are for a text log on a terminal.
fn lines<W>(log: &LogConfig, writer: W, colours: bool) -> Result<Dispatch>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut filter =
        EnvFilter::try_new(&log.filter).with_context(|| format!("the log filter {:?}", log.filter))?;
    // What it says of a directory that is gone, the plugin host says better.
    if !log.filter.contains("notify") {
        filter = filter.add_directive("notify=error".parse()?);
    }
    // It says that a database was migrated wherever a schema is compared with a fresh one; the store says when it was.
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
        lines.fmt_fields(text::fields()).finish().into()
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

    /// What is written of some events.
    fn written(json: bool, filter: &str, events: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let log = LogConfig {
            json,
            filter: filter.to_owned(),
        };
        let lines = lines(&log, move || writer.clone(), false).unwrap();
        dispatcher::with_default(&lines, events);
        let bytes = std::mem::take(&mut *buffer.0.lock());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_flat_and_a_line_an_event_whatever_is_in_it() {
        let hostile = "a\r\n{\"level\":\"ERROR\"}\u{1b}[31m\u{2028}\u{9b}\u{7f}\u{202e}\u{e0041}\"\\\t";
        let text = written(true, "info", || {
            tracing::info!(target: "gateway::request", route = hostile, status = 200_u16, "{hostile}");
            tracing::warn!(r#type = f64::NAN, half = 0.5, minus = -1, yes = true, debug = ?hostile, "second");
            let args = format_args!("{hostile}");
            let mut record = log::Record::builder();
            record
                .level(log::Level::Error)
                .target("elsewhere")
                .file(Some("/home/source.rs"));
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
        assert_eq!(second["type"], "NaN");
        assert_eq!(second["half"], 0.5);
        assert_eq!(second["minus"], -1);
        assert_eq!(second["yes"], true);
        assert_eq!(second["debug"], format!("{hostile:?}"));
        assert_eq!(third["message"], hostile);
        assert_eq!(third["target"], "elsewhere");
        assert_eq!(third.as_object().unwrap().len(), 4, "{third}");
        assert!(
            !text.contains(['\u{1b}', '\u{9b}', '\u{7f}', '\u{2028}', '\u{202e}', '\u{e0041}']),
            "{text:?}"
        );
    }

    #[test]
    fn text_is_a_line_an_event_and_has_no_escape_sequences() {
        let hostile = "a\r\nb\u{1b}[31m\u{9b}\u{7f}\u{85}\u{202e}\u{e0041}";
        let text = written(false, "info", || {
            tracing::info!(field = hostile, shown = %hostile, r#type = ?hostile, "{hostile}");
            let mut record = log::Record::builder();
            record.level(log::Level::Error).target("elsewhere");
            tracing_log::format_trace(&record.args(format_args!("{hostile}")).build()).unwrap();
        });
        let lines: Vec<&str> = text.lines().collect();
        let [first, second] = &lines[..] else {
            panic!("{text:?}")
        };
        let written_out = "a\\r\\nb\\u{1b}[31m\\u{9b}\\u{7f}\\u{85}\\u{202e}\\u{e0041}";
        assert!(first.contains(&format!(" {written_out} ")), "{first:?}");
        for name in ["field", "type"] {
            assert!(first.contains(&format!(" {name}=\"{written_out}\"")), "{first:?}");
        }
        assert!(first.contains(&format!(" shown={written_out}")), "{first:?}");
        assert!(
            second.contains(&format!(" elsewhere: {written_out}")),
            "{second:?}"
        );
        let odd = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{e0041}');
        assert!(!lines.concat().contains(odd), "{text:?}");
    }

    #[test]
    fn the_filter_filters() {
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
    fn a_panic_is_a_line_that_says_where_and_not_what() {
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
