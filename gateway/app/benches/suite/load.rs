//! The load generator. It is the same for all servers, and runs in this process and so on the same cores.
//!
//! *Closed loop*: each connection sends its next request when it has read the answer. The result is the rate that a
//! server is capable of. Its latencies are those of a server that is busy all the time. The load comes from a few threads
//! that share nothing while they run: each has its own runtime and connections.
//!
//! *Paced*: a fixed number of requests a second, far below the capacity of the server. The result is latencies. A
//! request's time counts from when it was due, if the one before it on its connection was late. A late wake-up of the
//! generator itself does not count.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::figure::Times;
use crate::http::{Answer, Connection, Expected};
use crate::machine;

/// Connections that are made before the server is known to have accepted them.
const BACKLOG: usize = 64;

/// The requests to send: whole HTTP/1.1 requests.
pub(crate) struct Requests {
    all: Arc<[Box<[u8]>]>,
    next: AtomicUsize,
    once: bool,
}

impl Requests {
    /// Each in turn, from the beginning again after the last.
    pub(crate) fn cycle(all: impl IntoIterator<Item = String>) -> Self {
        Self::new(all, false)
    }

    /// Each once, also over several runs; a run ends when there are no more.
    pub(crate) fn once(all: impl IntoIterator<Item = String>) -> Self {
        Self::new(all, true)
    }

    fn new(all: impl IntoIterator<Item = String>, once: bool) -> Self {
        Self {
            all: all
                .into_iter()
                .map(|request| request.into_bytes().into())
                .collect(),
            next: AtomicUsize::new(0),
            once,
        }
    }

    /// The same ones, from the beginning.
    pub(crate) fn again(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            next: AtomicUsize::new(0),
            once: self.once,
        }
    }

    fn next(&self) -> Option<&[u8]> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let number = if self.once {
            number
        } else {
            number % self.all.len()
        };
        self.all.get(number).map(|request| &**request)
    }

    fn ran_out(&self) -> bool {
        self.once && self.next.load(Ordering::Relaxed) > self.all.len()
    }
}

/// One run.
pub(crate) struct Load<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) requests: &'a Requests,
    pub(crate) expected: Expected,
    pub(crate) connections: usize,
}

/// The result of a run.
pub(crate) struct Outcome {
    /// From when all connections were there to the last answer.
    pub(crate) elapsed: Duration,
    /// How long each answer took.
    pub(crate) times: Times,
}

impl Outcome {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }
}

impl Load<'_> {
    /// Runs a closed loop for this time.
    ///
    /// # Errors
    /// When an answer is not what was expected, a connection breaks, or requests that count once ran out.
    pub(crate) fn rate(&self, time: Duration) -> Result<Outcome> {
        let outcome = self.closed(Some(time))?;
        ensure!(
            !self.requests.ran_out(),
            "there are fewer people than requests: reduce --seconds or --rounds"
        );
        Ok(outcome)
    }

    /// Runs a closed loop until every request, each of which counts once, was answered.
    ///
    /// # Errors
    /// As for a rate.
    pub(crate) fn all(&self) -> Result<Outcome> {
        self.closed(None)
    }

    fn closed(&self, time: Option<Duration>) -> Result<Outcome> {
        let threads = (machine::cores()? / 2).clamp(1, self.connections);
        let together = Barrier::new(threads);
        let outcomes = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|thread| {
                    let connections = (thread..self.connections).step_by(threads).count();
                    let together = &together;
                    scope.spawn(move || self.thread(connections, time, together))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("a load thread panicked"))?)
                .collect::<Result<Vec<Outcome>>>()
        })?;
        total(outcomes)
    }

    /// `connections` of them, on this thread.
    fn thread(&self, connections: usize, time: Option<Duration>, together: &Barrier) -> Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let streams = runtime.block_on(self.connect_all(connections));
        // Also where it failed: the others wait.
        together.wait();
        let times = RefCell::new(Times::new()?);
        let begin = Instant::now();
        let end = time.map(|time| begin + time);
        runtime.block_on(async {
            // Unlike a join, it looks only at those for which something has come.
            let mut running: FuturesUnordered<_> = streams?
                .into_iter()
                .map(|stream| self.connection(stream, end, &times))
                .collect();
            while let Some(ended) = running.next().await {
                ended?;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        Ok(Outcome {
            elapsed: begin.elapsed(),
            times: times.into_inner(),
        })
    }

    async fn connect_all(&self, connections: usize) -> Result<Vec<TcpStream>> {
        let mut streams = Vec::with_capacity(connections);
        let mut buffer = Vec::new();
        for number in 1..=connections {
            let mut stream = connect(self.to).await?;
            // A server that has answered this one has accepted those before it. Without that its backlog runs
            // over, and the kernel tries again seconds later.
            if number % BACKLOG == 0
                && let Some(request) = self.requests.next()
            {
                self.exchange(&mut stream, &mut buffer, request).await?;
            }
            streams.push(stream);
        }
        Ok(streams)
    }

    async fn exchange(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &[u8]) -> Result<Answer> {
        stream.write_all(request).await?;
        buffer.clear();
        loop {
            ensure!(
                stream.read_buf(buffer).await? > 0,
                "the server closed the connection"
            );
            if let Some(answer) = self.expected.answer(buffer)? {
                return Ok(answer);
            }
        }
    }

    async fn connection(
        &self,
        mut stream: TcpStream,
        end: Option<Instant>,
        times: &RefCell<Times>,
    ) -> Result<()> {
        let mut buffer = Vec::with_capacity(4096);
        let mut begun = Instant::now();
        while end.is_none_or(|end| begun < end) {
            let Some(request) = self.requests.next() else {
                break;
            };
            let answer = self.exchange(&mut stream, &mut buffer, request).await?;
            let now = Instant::now();
            times.borrow_mut().record(now - begun);
            begun = now;
            if answer.closes {
                stream = connect(self.to).await?;
            }
        }
        Ok(())
    }

    /// Sends `rate` requests a second, spread evenly over time and connections, for so long.
    ///
    /// # Errors
    /// As for a closed loop; or where the server falls so far behind that it is not this rate.
    pub(crate) fn paced(&self, rate: f64, time: Duration) -> Result<Outcome> {
        let between = Duration::from_secs_f64(1.0 / rate);
        let every = between * u32::try_from(self.connections)?;
        let begin = Instant::now();
        let outcomes = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.connections)
                .map(|number| {
                    scope.spawn(move || {
                        let first = begin + between * u32::try_from(number)?;
                        self.pace(first, every, begin + time)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("a load thread panicked"))?)
                .collect::<Result<Vec<Outcome>>>()
        })?;
        let outcome = total(outcomes)?;
        ensure!(
            outcome.elapsed < time * 2,
            "the server does not keep up with {rate} requests a second"
        );
        Ok(outcome)
    }

    fn pace(&self, first: Instant, every: Duration, end: Instant) -> Result<Outcome> {
        let begin = Instant::now();
        let mut connection = Connection::open(self.to)?;
        let mut times = Times::new()?;
        let mut due = first;
        while due < end {
            let now = Instant::now();
            let begun = if now < due {
                std::thread::sleep(due - now);
                Instant::now()
            } else {
                due
            };
            let request = self.requests.next().context("there are no more requests")?;
            connection.exchange(request, &self.expected)?;
            times.record(begun.elapsed());
            due += every;
        }
        Ok(Outcome {
            elapsed: begin.elapsed(),
            times,
        })
    }
}

/// The joint outcome of threads that ran at the same time.
fn total(outcomes: Vec<Outcome>) -> Result<Outcome> {
    let mut total = Outcome {
        elapsed: Duration::ZERO,
        times: Times::new()?,
    };
    for outcome in outcomes {
        total.elapsed = total.elapsed.max(outcome.elapsed);
        total.times.add(&outcome.times)?;
    }
    Ok(total)
}

async fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to)
        .await
        .with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Keeps a server busy in the background, in a closed loop, for as long as this is there.
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<u64>>>,
}

impl Background {
    /// Starts `callers` threads, each with a connection, that send the same request.
    pub(crate) fn start(to: SocketAddr, request: &str, status: &'static str, callers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let call = move |request: String, stop: Arc<AtomicBool>| -> Result<u64> {
            let expected = Expected::new(status, "");
            let mut connection = Connection::open(to)?;
            let mut calls = 0;
            while !stop.load(Ordering::Relaxed) {
                connection.exchange(request.as_bytes(), &expected)?;
                calls += 1;
            }
            Ok(calls)
        };
        let threads = (0..callers)
            .map(|_| {
                let (request, stop) = (request.to_owned(), Arc::clone(&stop));
                std::thread::spawn(move || call(request, stop))
            })
            .collect();
        Self { stop, threads }
    }

    /// Stops, and gives how many answers there were.
    ///
    /// # Errors
    /// When a call went wrong.
    pub(crate) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a caller panicked"))?)
            .sum()
    }
}
