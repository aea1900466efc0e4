//! Lines on their way to stderr. Requests append to a buffer, one thread writes it out.
//!
//! Under load a system call and a wake-up for each line cost about as much as the request that it is about.
//! So the thread, having written, rests for [`REST`] before it looks again, and takes all lines that have come
//! since in one piece. A line that finds it idle is written at once.
//!
//! Nobody waits for whoever reads stderr: when [`WAITING`] bytes have not been read, further lines are dropped and
//! counted, and a line says how many were as soon as there is room again. The end of the process waits for
//! [`PATIENCE`] at most.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others under load; also what a process that is killed may fail to write.
const REST: Duration = Duration::from_millis(2);
/// Bytes that wait for whoever reads stderr; beyond that, lines are dropped.
const WAITING: usize = 8 << 20;
/// How long the last lines may take to be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// The counter of lines that were dropped.
pub(crate) const DROPPED: &str = "gateway_log_dropped_total";

/// Where lines are appended. Clones append to the same buffer.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// There is something to write, or nothing more to come.
    work: Condvar,
    /// Everything was written, and the thread has ended.
    ended: Condvar,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// The thread waits to be told of work.
    idle: bool,
    closed: bool,
    ended: bool,
    /// Lines that there was no room for since the last that said so.
    dropped: u64,
}

/// Ends the thread when it is dropped, after everything has been written or nobody has read it for [`PATIENCE`].
pub(super) struct Ending(Lines);

impl Lines {
    /// Starts the thread, which writes them to `out`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn write_to(self, out: impl Write + Send + 'static) -> io::Result<Ending> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            // Told of even where writing panics.
            let _ended = Ended(Arc::clone(&shared));
            shared.write_to(out);
        })?;
        Ok(Ending(self))
    }
}

/// Says that the thread has ended.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.buffer.lock().ended = true;
        self.0.ended.notify_all();
    }
}

impl Shared {
    fn append(&self, line: &[u8]) {
        let mut buffer = self.buffer.lock();
        if buffer.bytes.len() >= WAITING {
            buffer.dropped += 1;
            drop(buffer);
            metrics::counter!(DROPPED).increment(1);
            return;
        }
        buffer.bytes.extend_from_slice(line);
        if std::mem::take(&mut buffer.idle) {
            self.work.notify_one();
        }
    }

    fn write_to(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut buffer = self.buffer.lock();
            while buffer.bytes.is_empty() {
                if buffer.closed {
                    return;
                }
                buffer.idle = true;
                self.work.wait(&mut buffer);
            }
            std::mem::swap(&mut buffer.bytes, &mut taken);
            let closed = buffer.closed;
            let dropped = std::mem::take(&mut buffer.dropped);
            drop(buffer);
            // Where stderr is gone there is nobody left to tell.
            let _ = out.write_all(&taken).and_then(|()| out.flush());
            taken.clear();
            if dropped > 0 {
                // It finds room: everything that was waiting has just been written.
                tracing::warn!(
                    dropped,
                    "lines of the log were dropped: stderr was not read fast enough"
                );
            }
            if !closed {
                thread::sleep(REST);
            }
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Lines(shared) = &self.0;
        let mut buffer = shared.buffer.lock();
        buffer.closed = true;
        buffer.idle = false;
        shared.work.notify_one();
        // Beyond that the thread is left where it is, in the middle of a write: it ends with the process.
        shared
            .ended
            .wait_while_for(&mut buffer, |buffer| !buffer.ended, PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;
    use std::thread;

    use parking_lot::{Condvar, Mutex};

    use super::{Lines, WAITING};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_of_every_thread_is_written_whole_and_in_its_order() {
        let written = Written::default();
        let lines = Lines::default();
        let ending = lines.clone().write_to(written.clone()).unwrap();
        thread::scope(|scope| {
            for number in 0..8 {
                let mut lines = lines.clone();
                scope.spawn(move || {
                    for count in 0..1000 {
                        lines.write_all(format!("{number} {count}\n").as_bytes()).unwrap();
                    }
                });
            }
        });
        drop(ending);
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        let mut next = [0; 8];
        for line in text.lines() {
            let (number, count) = line.split_once(' ').unwrap();
            let next = &mut next[number.parse::<usize>().unwrap()];
            assert_eq!(count.parse(), Ok(*next));
            *next += 1;
        }
        assert_eq!(next, [1000; 8]);
    }

    /// A pipe that nobody reads until it is opened.
    #[derive(Clone, Default)]
    struct Stalled {
        open: Arc<(Mutex<bool>, Condvar)>,
        written: Written,
    }

    impl Stalled {
        fn open(&self) {
            *self.open.0.lock() = true;
            self.open.1.notify_all();
        }
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut open = self.open.0.lock();
            self.open.1.wait_while(&mut open, |open| !*open);
            self.written.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a19_nobody_waits_for_a_reader_that_has_stopped() {
        let (lines, stalled) = (Lines::default(), Stalled::default());
        let ending = lines.clone().write_to(stalled.clone()).unwrap();
        let line = vec![b'x'; WAITING / 4];
        // What the thread takes at first, what may wait, and as much again.
        for _ in 0..12 {
            lines.clone().write_all(&line).unwrap();
        }
        let (waiting, dropped) = {
            let buffer = lines.0.buffer.lock();
            (buffer.bytes.len(), buffer.dropped)
        };
        assert!(waiting < WAITING + line.len(), "{waiting}");
        assert!(dropped >= 3, "{dropped}");
        // Ends all the same.
        drop(ending);
        assert_eq!(stalled.written.0.lock().len(), 0);
        stalled.open();
    }

    #[test]
    fn a19_what_was_dropped_is_counted_and_later_lines_are_written() {
        let (lines, stalled) = (Lines::default(), Stalled::default());
        let ending = lines.clone().write_to(stalled.clone()).unwrap();
        let line = vec![b'x'; WAITING / 4];
        // The thread has this one, and waits with it.
        lines.clone().write_all(&line).unwrap();
        while !lines.0.buffer.lock().bytes.is_empty() {
            std::thread::yield_now();
        }
        let mut count = 1;
        while lines.0.buffer.lock().dropped == 0 {
            lines.clone().write_all(&line).unwrap();
            count += 1;
        }
        stalled.open();
        while lines.0.buffer.lock().dropped > 0 || lines.0.buffer.lock().bytes.len() >= WAITING {
            std::thread::yield_now();
        }
        lines.clone().write_all(b"the last\n").unwrap();
        while !stalled.written.0.lock().ends_with(b"the last\n") {
            std::thread::yield_now();
        }
        drop(ending);
        let written = stalled.written.0.lock();
        assert_eq!(written.len(), (count - 1) * line.len() + b"the last\n".len());
    }
}
