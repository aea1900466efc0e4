//! Lines on their way to stderr. Requests append to a buffer, one thread writes it out.
//!
//! Under load a system call and a wake-up for each line cost about as much as the request that it is about.
//! So the thread, having written, rests for [`REST`] before it looks again, and takes all lines that have come
//! since in one piece. A line that finds it idle is written at once.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others under load; also what a process that is killed may fail to write.
const REST: Duration = Duration::from_millis(2);
/// Bytes that wait for whoever reads stderr; beyond that, requests wait. No line is dropped.
const WAITING: usize = 8 << 20;

/// Where lines are appended. Clones append to the same buffer.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// There is something to write, or nothing more to come.
    work: Condvar,
    /// There is room again.
    room: Condvar,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// The thread waits to be told of work.
    idle: bool,
    closed: bool,
}

/// Ends the thread when it is dropped, after everything has been written.
pub(super) struct Ending {
    lines: Lines,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    /// Starts the thread, which writes them to `out`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn write_to(self, out: impl Write + Send + 'static) -> io::Result<Ending> {
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_to(out))?;
        Ok(Ending {
            lines: self,
            thread: Some(thread),
        })
    }
}

impl Shared {
    fn append(&self, line: &[u8]) {
        let mut buffer = self.buffer.lock();
        while buffer.bytes.len() >= WAITING && !buffer.closed {
            self.room.wait(&mut buffer);
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
            drop(buffer);
            self.room.notify_all();
            // Where stderr is gone there is nobody left to tell.
            let _ = out.write_all(&taken).and_then(|()| out.flush());
            taken.clear();
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
        {
            let mut buffer = self.lines.0.buffer.lock();
            buffer.closed = true;
            buffer.idle = false;
        }
        self.lines.0.work.notify_one();
        self.lines.0.room.notify_all();
        if let Some(thread) = self.thread.take() {
            // It ends by itself, and only a panic of its own could be told here.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use parking_lot::Mutex;

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

    /// A reader that takes nothing until as much as may waits for it, and notes how much that is.
    struct Slow {
        lines: Option<Lines>,
        most: Arc<Mutex<usize>>,
        written: Written,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(lines) = self.lines.take() {
                let waiting = || lines.0.buffer.lock().bytes.len();
                while waiting() < WAITING {
                    thread::yield_now();
                }
                // Time for more to come, if more may.
                thread::sleep(Duration::from_millis(50));
                *self.most.lock() = waiting();
            }
            self.written.write(bytes)
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

    #[test]
    fn lines_wait_for_a_slow_reader_and_none_is_lost() {
        let lines = Lines(Arc::default());
        let (most, written) = (Arc::new(Mutex::new(0)), Written::default());
        let slow = Slow {
            lines: Some(lines.clone()),
            most: Arc::clone(&most),
            written: written.clone(),
        };
        let ending = lines.clone().write_to(slow).unwrap();
        let line = vec![b'x'; WAITING / 4];
        // What the thread takes at first, what may wait, and as much again.
        for _ in 0..12 {
            lines.clone().write_all(&line).unwrap();
        }
        drop(ending);
        assert!(*most.lock() < WAITING + line.len(), "{}", most.lock());
        assert_eq!(written.0.lock().len(), 12 * line.len());
    }
}
