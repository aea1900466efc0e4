//! Guests' log lines, from the grant `logging` and from stdout and stderr: limited per call and per plugin over time,
//! made printable, and written to the gateway's log.
//!
//! Both limits count bytes as they are written: seven for a control character, two for a quotation mark. A limit on the
//! guest's own bytes would let it write several times as much.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::text::is_unsafe;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::Level;

use crate::text::printable;

/// Most messages (or lines of stdout and stderr) in one call.
const MAX_LINES: usize = 200;
/// Longest line of stdout or stderr. Longer lines are split.
const MAX_LINE: usize = 4096;
/// Bytes of a line besides its message: time, level, plugin, function and the names of these fields.
const LINE_OVERHEAD: usize = 256;
/// The shortest time between two warnings that a plugin logs too much.
const COMPLAINT: Duration = Duration::from_secs(60);
/// How many of the last lines of stderr are kept. Language runtimes report errors there before they exit.
const MAX_SAID: usize = 12;

/// A guest's message, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogLine {
    /// `error`, `warn`, `info` or `debug`.
    pub level: &'static str,
    /// `log` (the import `logging`), `stdout` or `stderr`.
    pub source: &'static str,
    /// The text, with control characters escaped.
    pub message: String,
}

/// Records the messages of guests. Clones share one record.
#[derive(Clone, Debug, Default)]
pub struct Transcript(Arc<Mutex<Vec<LogLine>>>);

impl Transcript {
    /// Removes and returns all recorded messages.
    pub fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Limits how much all calls of one plugin write over time: `log_bytes_per_minute`, all of which is available to a
/// plugin that was quiet for a minute.
#[derive(Debug)]
pub struct LogRate(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    per_minute: u64,
    left: u64,
    filled: Instant,
    complained: Option<Instant>,
}

impl LogRate {
    /// The full limit is available.
    pub fn new(per_minute: usize) -> Self {
        let per_minute = u64::try_from(per_minute).unwrap_or(u64::MAX);
        Self(Mutex::new(Bucket {
            per_minute,
            left: per_minute,
            filled: Instant::now(),
            complained: None,
        }))
    }

    /// Changes the limit. Earlier lines still count.
    pub fn set(&self, per_minute: usize) {
        let mut bucket = self.0.lock();
        bucket.per_minute = u64::try_from(per_minute).unwrap_or(u64::MAX);
        bucket.left = bucket.left.min(bucket.per_minute);
    }

    /// Counts a line with a message of this many bytes, and returns whether it may be written.
    pub fn admit(&self, message: usize, now: Instant) -> bool {
        let wanted = message.saturating_add(LINE_OVERHEAD) as u64;
        let mut bucket = self.0.lock();
        let elapsed = now.saturating_duration_since(bucket.filled).as_millis();
        let earned = u128::from(bucket.per_minute).saturating_mul(elapsed) / 60_000;
        // Waits until at least a byte is earned, because fractions would be lost.
        if earned > 0 {
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            bucket.left = bucket.left.saturating_add(earned).min(bucket.per_minute);
            bucket.filled = now;
        }
        match bucket.left.checked_sub(wanted) {
            Some(left) => {
                bucket.left = left;
                true
            }
            None => false,
        }
    }

    /// Whether a warning that the plugin logs too much is due: once a minute.
    pub fn may_complain(&self, now: Instant) -> bool {
        let mut bucket = self.0.lock();
        let is_due = bucket
            .complained
            .is_none_or(|last| now.saturating_duration_since(last) >= COMPLAINT);
        if is_due {
            bucket.complained = Some(now);
        }
        is_due
    }
}

/// How many bytes a message takes in a JSON log: as [`printable`] writes it, with quotation marks and backslashes
/// escaped.
pub fn written(message: &str) -> usize {
    message
        .chars()
        .map(|character| match character {
            _ if is_unsafe(character) => character.escape_unicode().len() + 1,
            '"' | '\\' => 2,
            _ => character.len_utf8(),
        })
        .sum()
}

/// The log of one call. Clones share its limits.
#[derive(Clone, Debug)]
pub struct GuestLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plugin: Arc<str>,
    /// Most bytes of a call.
    share: usize,
    /// The limit of all calls of the plugin.
    rate: Arc<LogRate>,
    budget: Mutex<Budget>,
    transcript: Option<Transcript>,
}

#[derive(Debug)]
struct Budget {
    function: &'static str,
    bytes: usize,
    lines: usize,
    dropped: u64,
    /// The last lines of stderr, including dropped ones.
    said: VecDeque<String>,
}

impl Budget {
    const fn new(function: &'static str, bytes: usize) -> Self {
        Self {
            function,
            bytes,
            lines: MAX_LINES,
            dropped: 0,
            said: VecDeque::new(),
        }
    }
}

impl GuestLog {
    /// A log for one call of `function`, limited to `bytes` bytes and by `rate`. `transcript` records every message
    /// that is not dropped.
    pub fn new(
        plugin: Arc<str>,
        function: &'static str,
        bytes: usize,
        rate: Arc<LogRate>,
        transcript: Option<Transcript>,
    ) -> Self {
        Self(Arc::new(Inner {
            plugin,
            share: bytes,
            rate,
            budget: Mutex::new(Budget::new(function, bytes)),
            transcript,
        }))
    }

    /// Starts the call of `function`. Messages from the instance's start no longer count.
    pub fn begin(&self, function: &'static str) {
        *self.0.budget.lock() = Budget::new(function, self.0.share);
    }

    /// Writes a message, or drops it if a limit is reached. `source` is `log`, `stdout` or `stderr`.
    pub fn write(&self, level: Level, source: &'static str, message: &str) {
        let function = {
            let mut budget = self.0.budget.lock();
            if source == "stderr" {
                if budget.said.len() == MAX_SAID {
                    budget.said.pop_front();
                }
                budget.said.push_back(message.to_owned());
            }
            let length = written(message);
            let left = Option::zip(budget.bytes.checked_sub(length), budget.lines.checked_sub(1));
            // defence: plugin-has-a-share-of-the-log (a test fails without it: docs/defences.md)
            let left = left.filter(|_| self.0.rate.admit(length, Instant::now()));
            let Some((bytes, lines)) = left else {
                budget.dropped += 1;
                return;
            };
            (budget.bytes, budget.lines) = (bytes, lines);
            budget.function
        };
        let plugin = &*self.0.plugin;
        // defence: plugin-log-is-escaped (a test fails without it: docs/defences.md)
        let message = printable(message, usize::MAX);
        macro_rules! emit {
            ($level:expr, $name:literal) => {{
                tracing::event!(target: "gateway_plugin::guest", $level, plugin, function, source, "{message}");
                $name
            }};
        }
        let level = match level {
            Level::ERROR => emit!(Level::ERROR, "error"),
            Level::WARN => emit!(Level::WARN, "warn"),
            Level::INFO => emit!(Level::INFO, "info"),
            _ => emit!(Level::DEBUG, "debug"),
        };
        if let Some(Transcript(lines)) = &self.0.transcript {
            lines.lock().push(LogLine {
                level,
                source,
                message,
            });
        }
    }

    /// The function that runs.
    pub fn function(&self) -> &'static str {
        self.0.budget.lock().function
    }

    /// The last lines that the call wrote to stderr, unescaped.
    pub fn said(&self) -> Vec<String> {
        self.0.budget.lock().said.iter().cloned().collect()
    }

    /// The number of dropped messages.
    pub fn dropped(&self) -> u64 {
        self.0.budget.lock().dropped
    }
}

/// Splits a guest's stdout or stderr into lines. Dropping it writes the rest.
#[derive(Debug)]
pub struct LineWriter {
    log: GuestLog,
    source: &'static str,
    line: Vec<u8>,
}

impl LineWriter {
    /// A stream that writes to `log`.
    pub const fn new(log: GuestLog, source: &'static str) -> Self {
        Self {
            log,
            source,
            line: Vec::new(),
        }
    }

    /// Takes bytes, and writes every complete line.
    pub fn write(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ended) = part
                .strip_suffix(b"\n")
                .map_or((part, false), |text| (text, true));
            for piece in text.chunks(MAX_LINE) {
                self.line.extend_from_slice(piece);
                if self.line.len() >= MAX_LINE {
                    self.end_line();
                }
            }
            if ended {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.log
                .write(Level::INFO, self.source, &String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.end_line();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;
    use tracing::Level;

    use super::{GuestLog, LINE_OVERHEAD, LineWriter, LogRate, MAX_LINE, MAX_LINES, written};
    use crate::text::printable;

    fn of(bytes: usize) -> GuestLog {
        GuestLog::new("p".into(), "f", bytes, Arc::new(LogRate::new(usize::MAX)), None)
    }

    #[test]
    fn excess_bytes_and_lines_are_dropped_and_counted() {
        let log = of(10);
        log.write(Level::INFO, "log", "12345");
        log.write(Level::INFO, "log", "123456");
        log.write(Level::INFO, "log", "12345");
        assert_eq!(log.dropped(), 1);

        let log = of(usize::MAX);
        for _ in 0..MAX_LINES + 7 {
            log.write(Level::INFO, "log", "");
        }
        assert_eq!(log.dropped(), 7);
    }

    #[test]
    fn streams_buffer_at_most_a_line() {
        let log = of(100);
        let mut stream = LineWriter::new(log.clone(), "stdout");
        for _ in 0..100 {
            stream.write(&[b'x'; 10_000]);
            assert!(stream.line.len() < MAX_LINE);
        }
        assert!(log.dropped() > 100);
        stream.write(b"\nlast");
        assert_eq!(stream.line, b"last");
    }

    #[test]
    fn a17_a_message_counts_as_it_is_written() {
        for message in [
            "plain",
            "gr\u{fc}\u{df}e",
            "\u{1b}[31m\0\n\r\t\u{202e}\u{e0041}",
            r#"a "quoted" \ path"#,
            "\u{7f}\u{80}\u{2028}",
        ] {
            let line = serde_json::to_string(&printable(message, usize::MAX)).unwrap();
            assert_eq!(written(message), line.len() - 2, "{message:?}");
        }
        let log = of(100);
        log.write(Level::INFO, "log", &"\u{1b}".repeat(100));
        assert_eq!(log.dropped(), 1, "it would be 700 bytes");
    }

    #[test]
    fn a17_a_plugin_has_a_share_of_the_log_in_all_its_calls() {
        let rate = LogRate::new(60_000);
        let begun = Instant::now();
        let mut written = 0;
        // Ten minutes of a thousand calls a second, each of which logs 16 KiB.
        for millisecond in 0..600_000 {
            let now = begun + Duration::from_millis(millisecond);
            if rate.admit(1024, now) {
                written += 1024 + LINE_OVERHEAD;
            }
        }
        assert!(written <= 11 * 60_000, "{written}");
        assert!(written > 9 * 60_000, "{written}");
        assert!(
            !rate.admit(60_000, begun + Duration::from_secs(6000)),
            "more than there ever is"
        );
    }

    #[test]
    fn a17_lines_beyond_the_plugins_share_are_counted() {
        let rate = Arc::new(LogRate::new(3 * LINE_OVERHEAD));
        let call = || GuestLog::new("p".into(), "f", 1000, Arc::clone(&rate), None);
        let dropped: u64 = (0..5)
            .map(|_| {
                let log = call();
                log.write(Level::INFO, "log", "");
                log.dropped()
            })
            .sum();
        assert_eq!(dropped, 2, "each call is within its own share");
        let now = Instant::now();
        assert!(rate.may_complain(now) && !rate.may_complain(now));
    }
}
