//! One call of the role provider on one thread, in each language: as the gateway makes it, and beside it as a
//! host does that does nothing else, so that what the gateway adds is a ratio.
//!
//! The group `call/<language>` has:
//!
//! | function | what is measured |
//! |---|---|
//! | `gateway-fresh` | until the answer is there, the making of the instance included |
//! | `gateway-prepared` | the same in an instance that was made before |
//! | `gateway-fresh-held` | until everything is given back as well: how long the thread is taken |
//! | `minimal-sync-…` | the minimal host, with wasmtime's synchronous calls |
//! | `minimal-async-…` | the minimal host, with asynchronous ones, as the gateway's are |
//!
//! A caller waits only for the answer, so the targets limit that time; `held` decides how many calls a core does in
//! a second. A sample is the median of its calls.
//!
//! `just guests && cargo bench -p gateway-host --bench calls`; `BENCH_LANGUAGES=rust,c` leaves the others out.

// A bench prints its figures and ends at the first thing that is wrong.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod calls {
    pub(crate) mod minimal;
}

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, criterion_group, criterion_main};
use gateway_devkit::{BenchLimits, Made, Measured, Question, Workbench, WorkbenchOptions};
use gateway_model::{Timestamp, User, UserStatus};
use gateway_sandbox::{Grant, Limits, PluginConfig};
use tokio::runtime::Runtime;

use crate::calls::minimal::{Lane, Minimal};

const SERVICE: &str = "wiki";
const USER: &str = "0123456789abcdef0123456789abcdef";
const SETTINGS: [(&str, &str); 2] = [("default", "reader"), ("role.reader", "read")];
/// The time for measuring one function, including the parts that do not count.
const BUDGET: Duration = Duration::from_millis(1500);

/// The cost of one call.
struct Cost {
    /// Until its answer was there.
    answer: Duration,
    /// Until everything was given back.
    held: Duration,
}

/// The role provider of a language.
struct Guest {
    language: &'static str,
    component: Vec<u8>,
}

impl Guest {
    /// Bytes of memory that are wiped in place after a call, as in the gateway for this kind of guest.
    fn keep_resident(&self) -> usize {
        match self.language {
            "javascript" => 8 << 20,
            "python" => 32 << 20,
            _ => 192 << 10,
        }
    }

    fn all() -> Vec<Self> {
        let wanted =
            std::env::var("BENCH_LANGUAGES").unwrap_or_else(|_| "rust,c,javascript,python".to_owned());
        let out = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-examples/out"));
        let read = |language: &str| {
            let path = out.join(format!("{language}-role-provider.wasm"));
            std::fs::read(&path).unwrap_or_else(|error| {
                panic!(
                    "{}: {error}. `just guests` makes it; BENCH_LANGUAGES=rust leaves the others out.",
                    path.display()
                )
            })
        };
        wanted
            .split(',')
            .map(|language| match language {
                "rust" => ("rust", guest_examples::ROLES.wasm.to_owned()),
                "c" => ("c", read("c")),
                "javascript" => ("javascript", read("js")),
                "python" => ("python", read("python")),
                other => panic!("BENCH_LANGUAGES: {other:?} is none of rust, c, javascript and python"),
            })
            .map(|(language, component)| Self { language, component })
            .collect()
    }
}

/// The component as the gateway calls it.
struct Gateway {
    workbench: Workbench,
    runtime: Runtime,
}

impl Gateway {
    fn new(guest: &Guest) -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = target.join(format!("{}.wasm", guest.language));
        std::fs::write(&path, &guest.component).unwrap();
        let config = PluginConfig {
            grants: [Grant::Config, Grant::Users].into(),
            settings: SETTINGS
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            limits: Limits {
                // The machine may be busy with something else for a while.
                deadline: Duration::from_secs(3600),
                ..Limits::default()
            },
            ..PluginConfig::default()
        };
        let options = WorkbenchOptions {
            users: vec![User {
                id: USER.into(),
                username: None,
                name: "Ann".to_owned(),
                email: None,
                avatar_url: None,
                identities: Vec::new(),
                joined: Timestamp(0),
                status: UserStatus::Active,
                attributes: Default::default(),
            }],
            cache_dir: Some(target.join("compiled")),
            ..WorkbenchOptions::default()
        };
        let runtime = Runtime::new().unwrap();
        let workbench = runtime.block_on(Workbench::open(&path, config, options)).unwrap();
        let report = workbench.report();
        assert!(report.is_admissible, "{:?}", report.problem);
        Self { workbench, runtime }
    }

    fn measure(&self, made: Made, calls: usize) -> Measured {
        let question = Question::Permissions {
            service: SERVICE.to_owned(),
            user: USER.into(),
        };
        let limits = BenchLimits {
            calls,
            time: Duration::MAX,
        };
        let measuring = self.workbench.measure(question, made, limits);
        let measured = self.runtime.block_on(measuring).unwrap();
        assert_eq!(measured.calls, calls);
        measured
    }
}

/// Adds a function; `median` makes the given number of calls and returns their median duration.
fn add(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, median: impl Fn(usize) -> Duration) {
    // Making instances ahead is not in what criterion sees, but in how long it takes.
    let begun = Instant::now();
    let counted = median(20);
    let share = counted.as_secs_f64() / (begun.elapsed().as_secs_f64() / 20.0);
    group.measurement_time(BUDGET.mul_f64(share.min(1.0)));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|calls| {
            let counted = median(usize::try_from(calls).unwrap());
            counted * u32::try_from(calls).unwrap()
        });
    });
}

fn us(microseconds: f64) -> Duration {
    Duration::from_secs_f64(microseconds / 1e6)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len().div_ceil(2) - 1]
}

fn calls(criterion: &mut Criterion) {
    for guest in Guest::all() {
        let gateway = Gateway::new(&guest);
        let minimal = Minimal::new(&guest.component, guest.keep_resident()).unwrap();
        let mut group = criterion.benchmark_group(format!("call/{}", guest.language));
        group.sampling_mode(SamplingMode::Flat).sample_size(30);
        let lanes = [("sync", Lane::Sync), ("async", Lane::Async)];

        add(&mut group, "gateway-fresh", |calls| {
            us(gateway.measure(Made::Fresh, calls).p50_us)
        });
        for (name, lane) in lanes {
            add(&mut group, &format!("minimal-{name}-fresh"), |calls| {
                let costs = minimal.fresh(lane, calls).unwrap();
                median(costs.iter().map(|cost| cost.answer).collect())
            });
        }
        add(&mut group, "gateway-prepared", |calls| {
            us(gateway.measure(Made::Ahead, calls).p50_us)
        });
        for (name, lane) in lanes {
            add(&mut group, &format!("minimal-{name}-prepared"), |calls| {
                let costs = minimal.prepared(lane, calls).unwrap();
                median(costs.iter().map(|cost| cost.answer).collect())
            });
        }
        add(&mut group, "gateway-fresh-held", |calls| {
            us(gateway.measure(Made::Fresh, calls).held_p50_us)
        });
        for (name, lane) in lanes {
            add(&mut group, &format!("minimal-{name}-fresh-held"), |calls| {
                let costs = minimal.fresh(lane, calls).unwrap();
                median(costs.iter().map(|cost| cost.held).collect())
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300));
    targets = calls
}
criterion_main!(benches);
