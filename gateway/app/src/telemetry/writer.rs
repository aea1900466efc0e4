//! Writes lines to stderr. Requests append to the queue of tracing-appender, whose thread writes. This module adds a
//! limit in bytes, and a pause between two writes.
//!
//! The gateway does not wait for the process that reads stderr: while [`UNREAD`] bytes are unread, further lines are
//! dropped and counted.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::metrics::log_dropped;

/// How long the thread pauses after a write. Under load, a system call and a wake-up for each line would cost about as
/// much as the request. If the thread is idle, it writes a line immediately.
const REST: Duration = Duration::from_millis(2);
/// Bytes that are written with one system call.
const BATCH: usize = 64 << 10;
/// Bytes that may be unread. tracing-appender's own limit is in lines, which can be long.
const UNREAD: usize = 8 << 20;
/// A shorter line counts as this many bytes, so that the queue, which holds lines, always has room for [`UNREAD`]
/// bytes.
const SHORTEST: usize = 256;
/// How long the gateway waits at shutdown for the last lines to be read. tracing-appender then waits for another
/// second.
const PATIENCE: Duration = Duration::from_secs(4);

/// Appends to the queue. Each write must be one line.
#[derive(Clone)]
pub(super) struct Lines {
    queue: NonBlocking,
    unread: Arc<Unread>,
}

#[derive(Debug, Default)]
struct Unread {
    bytes: AtomicUsize,
    /// Lines that were dropped and not reported yet.
    dropped: AtomicU64,
}

/// Stops the log when it is dropped, after the last lines were written.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub(crate) struct Guard {
    unread: Arc<Unread>,
    _thread: WorkerGuard,
}

/// The thread's end of the queue.
struct Batches<W: Write> {
    out: BufWriter<W>,
    unread: Arc<Unread>,
}

/// Starts the thread, which writes lines to `out`.
pub(super) fn start(out: impl Write + Send + 'static) -> (Lines, Guard) {
    let unread = Arc::<Unread>::default();
    let (queue, thread) = NonBlockingBuilder::default()
        .thread_name("log")
        // One more for tracing-appender's request to end.
        .buffered_lines_limit(UNREAD / SHORTEST + 1)
        .finish(Batches {
            out: BufWriter::with_capacity(BATCH, out),
            unread: Arc::clone(&unread),
        });
    let guard = Guard {
        unread: Arc::clone(&unread),
        _thread: thread,
    };
    (Lines { queue, unread }, guard)
}

fn counted(line: &[u8]) -> usize {
    line.len().max(SHORTEST)
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let counted = counted(line);
        if self.unread.bytes.fetch_add(counted, Ordering::Relaxed) < UNREAD {
            return self.queue.write(line);
        }
        self.unread.bytes.fetch_sub(counted, Ordering::Relaxed);
        self.unread.dropped.fetch_add(1, Ordering::Relaxed);
        log_dropped().increment(1);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Write for Batches<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // An error would keep tracing-appender's thread from ending.
        if self.out.write_all(line).is_err() {
            log_dropped().increment(1);
        }
        self.unread.bytes.fetch_sub(counted(line), Ordering::Relaxed);
        Ok(line.len())
    }

    /// Called when the queue is empty.
    fn flush(&mut self) -> io::Result<()> {
        let _ = self.out.flush();
        let dropped = self.unread.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "lines of the log were dropped: stderr was not read fast enough"
            );
        }
        thread::sleep(REST);
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let begun = Instant::now();
        while self.unread.bytes.load(Ordering::Relaxed) > 0 && begun.elapsed() < PATIENCE {
            thread::sleep(REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::thread;
    use std::time::{Duration, Instant};

    use parking_lot::{Condvar, Mutex};

    use super::{BATCH, SHORTEST, UNREAD, start};

    /// A pipe whose reader pauses until the test lets it read.
    #[derive(Clone, Default)]
    struct Pipe {
        is_read: Arc<(Mutex<bool>, Condvar)>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Pipe {
        fn read(&self) {
            *self.is_read.0.lock() = true;
            self.is_read.1.notify_all();
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut is_read = self.is_read.0.lock();
            self.is_read.1.wait_while(&mut is_read, |is_read| !*is_read);
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn lines_of_all_threads_are_written_whole_and_in_order() {
        let pipe = Pipe::default();
        pipe.read();
        let (lines, guard) = start(pipe.clone());
        thread::scope(|scope| {
            for number in 0..8 {
                let mut lines = lines.clone();
                scope.spawn(move || {
                    for count in 0..1000 {
                        lines
                            .write_all(format!("{number} {count:03}\n").as_bytes())
                            .unwrap();
                    }
                });
            }
        });
        wait_until("all lines are written", || {
            pipe.written.lock().len() == 8 * 1000 * "0 000\n".len()
        });
        drop(guard);
        let text = String::from_utf8(pipe.written.lock().clone()).unwrap();
        let mut next = [0; 8];
        for line in text.lines() {
            let (number, count) = line.split_once(' ').unwrap();
            let next = &mut next[number.parse::<usize>().unwrap()];
            assert_eq!(count.parse(), Ok(*next));
            *next += 1;
        }
        assert_eq!(next, [1000; 8]);
    }

    #[test]
    fn a19_lines_are_dropped_and_counted_while_8_mib_are_unread() {
        for length in [2, 100, SHORTEST + 1, UNREAD / 4] {
            let pipe = Pipe::default();
            let (mut lines, guard) = start(pipe.clone());
            let mut line = vec![b'x'; length];
            line[length - 1] = b'\n';
            let mut sent = 0;
            while lines.unread.dropped.load(Ordering::Relaxed) < 3 {
                lines.write_all(&line).unwrap();
                sent += 1;
                assert!(sent * length < 2 * UNREAD, "no line is dropped");
            }
            assert!(lines.unread.bytes.load(Ordering::Relaxed) < UNREAD + length.max(SHORTEST));
            assert_eq!(pipe.written.lock().len(), 0);
            pipe.read();
            wait_until("there is room again", || {
                lines.unread.bytes.load(Ordering::Relaxed) == 0
            });
            lines.write_all(b"the last\n").unwrap();
            wait_until("later lines are written", || {
                pipe.written.lock().ends_with(b"\nthe last\n")
            });
            assert_eq!(
                pipe.written.lock().len(),
                (sent - 3) * length + b"the last\n".len()
            );
            drop(guard);
        }
    }

    #[test]
    fn a19_shutdown_does_not_wait_for_a_stopped_reader() {
        let (mut lines, guard) = start(Pipe::default());
        lines.write_all(b"unread\n").unwrap();
        drop(guard);
    }

    /// A full disk.
    struct Full {
        _is_in_use: Arc<()>,
    }

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_thread_ends_even_if_nothing_can_be_written() {
        let is_in_use = Arc::new(());
        let (mut lines, guard) = start(Full {
            _is_in_use: Arc::clone(&is_in_use),
        });
        for _ in 0..10 {
            lines.write_all(&[b'x'; BATCH / 2]).unwrap();
        }
        drop(guard);
        wait_until("the thread ends", || Arc::strong_count(&is_in_use) == 1);
    }
}
