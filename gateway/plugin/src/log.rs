//! What a guest writes, by the grant `logging` or to stdout and stderr: capped for each call, made
//! printable, and handed to the gateway's own log.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::Level;

use crate::text::printable;

/// Most messages (or lines of stdout and stderr) in one call.
const MAX_LINES: usize = 200;
/// Longest line of stdout or stderr; what is longer is split.
const MAX_LINE: usize = 4096;
/// How many lines of stderr are remembered, the last ones: what a language runtime says when it ends.
const MAX_SAID: usize = 12;

/// A message of a guest, as it went to the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogLine {
    /// `error`, `warn`, `info` or `debug`.
    pub level: &'static str,
    /// What it was written to: `log` (the import `logging`), `stdout` or `stderr`.
    pub source: &'static str,
    /// Its text, control characters spelled out.
    pub message: String,
}

/// Hears everything that the guests write which are given it. Clones hear together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript(Arc<Mutex<Vec<LogLine>>>);

impl Transcript {
    /// All that was heard since this was asked last.
    pub(crate) fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.0.lock())
    }
}

/// The log of one call. Clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct GuestLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plugin: Arc<str>,
    /// What a call may write.
    share: usize,
    budget: Mutex<Budget>,
    transcript: Option<Transcript>,
}

#[derive(Debug)]
struct Budget {
    function: &'static str,
    bytes: usize,
    lines: usize,
    dropped: u64,
    /// The last lines of stderr, those that were dropped as well.
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
    /// A log for one call of `function`, that takes `bytes` bytes. `transcript` hears all that is not dropped.
    pub(crate) fn new(
        plugin: Arc<str>,
        function: &'static str,
        bytes: usize,
        transcript: Option<Transcript>,
    ) -> Self {
        Self(Arc::new(Inner {
            plugin,
            share: bytes,
            budget: Mutex::new(Budget::new(function, bytes)),
            transcript,
        }))
    }

    /// The call begins, of `function`: what was written until now, while the instance was made, does not
    /// count.
    pub(crate) fn begin(&self, function: &'static str) {
        *self.0.budget.lock() = Budget::new(function, self.0.share);
    }

    /// Writes a message, or drops it where the call has logged its share. `source` is `log`, `stdout` or
    /// `stderr`.
    pub(crate) fn write(&self, level: Level, source: &'static str, message: &str) {
        let function = {
            let mut budget = self.0.budget.lock();
            if source == "stderr" {
                if budget.said.len() == MAX_SAID {
                    budget.said.pop_front();
                }
                budget.said.push_back(message.to_owned());
            }
            let (Some(bytes), Some(lines)) = (
                budget.bytes.checked_sub(message.len()),
                budget.lines.checked_sub(1),
            ) else {
                budget.dropped += 1;
                return;
            };
            (budget.bytes, budget.lines) = (bytes, lines);
            budget.function
        };
        let plugin = &*self.0.plugin;
        let message = printable(message, usize::MAX);
        if let Some(Transcript(lines)) = &self.0.transcript {
            let level = match level {
                Level::ERROR => "error",
                Level::WARN => "warn",
                Level::INFO => "info",
                _ => "debug",
            };
            lines.lock().push(LogLine {
                level,
                source,
                message: message.clone(),
            });
        }
        macro_rules! emit {
            ($level:expr) => {
                tracing::event!(target: "gateway_plugin::guest", $level, plugin, function, source, "{message}")
            };
        }
        match level {
            Level::ERROR => emit!(Level::ERROR),
            Level::WARN => emit!(Level::WARN),
            Level::INFO => emit!(Level::INFO),
            _ => emit!(Level::DEBUG),
        }
    }

    /// Whose call this is the log of.
    pub(crate) fn function(&self) -> &'static str {
        self.0.budget.lock().function
    }

    /// The last lines that the call wrote to stderr, as they are.
    pub(crate) fn said(&self) -> Vec<String> {
        self.0.budget.lock().said.iter().cloned().collect()
    }

    /// How many messages were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.budget.lock().dropped
    }
}

/// Splits what a guest writes to stdout or stderr into lines. The rest is written when it is dropped.
#[derive(Debug)]
pub(crate) struct LineWriter {
    log: GuestLog,
    source: &'static str,
    line: Vec<u8>,
}

impl LineWriter {
    /// A stream into `log`.
    pub(crate) const fn new(log: GuestLog, source: &'static str) -> Self {
        Self {
            log,
            source,
            line: Vec::new(),
        }
    }

    /// Takes bytes; writes each line as it ends.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
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
    use tracing::Level;

    use super::{GuestLog, LineWriter, MAX_LINE, MAX_LINES};

    #[test]
    fn bytes_and_lines_are_capped_and_what_is_over_is_counted() {
        let log = GuestLog::new("p".into(), "f", 10, None);
        log.write(Level::INFO, "log", "12345");
        log.write(Level::INFO, "log", "123456");
        log.write(Level::INFO, "log", "12345");
        assert_eq!(log.dropped(), 1);

        let log = GuestLog::new("p".into(), "f", usize::MAX, None);
        for _ in 0..MAX_LINES + 7 {
            log.write(Level::INFO, "log", "");
        }
        assert_eq!(log.dropped(), 7);
    }

    #[test]
    fn streams_hold_no_more_than_a_line() {
        let log = GuestLog::new("p".into(), "f", 100, None);
        let mut stream = LineWriter::new(log.clone(), "stdout");
        for _ in 0..100 {
            stream.write(&[b'x'; 10_000]);
            assert!(stream.line.len() < MAX_LINE);
        }
        assert!(log.dropped() > 100);
        stream.write(b"\nlast");
        assert_eq!(stream.line, b"last");
    }
}
