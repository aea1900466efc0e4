//! The log: one line an event, JSON or text, on stderr.

use anyhow::{Context as _, Result};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogConfig;

/// Lines that wait for whoever reads stderr; beyond that, requests wait. No line is dropped.
const WAITING: usize = 64 << 10;

/// Starts the log for the whole process. What is still waiting is written when the guard is dropped.
///
/// # Errors
/// When the filter makes no sense, or the log has been started before.
pub fn init(log: &LogConfig) -> Result<WorkerGuard> {
    // Writing takes a system call a line, and the reader may be slow: neither is a request's business.
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(std::io::stderr());
    let filter =
        EnvFilter::try_new(&log.filter).with_context(|| format!("the log filter {:?}", log.filter))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    let started = if log.json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .try_init()
    } else {
        lines.compact().finish().try_init()
    };
    started.context("the log cannot be started")?;
    Ok(guard)
}
