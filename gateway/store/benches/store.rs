//! The cost of the database on a real disk: sessions with and without the cache, users, single and concurrent
//! sign-ins.
//!
//! `cargo bench -p gateway-store --bench store`

// A bench ends at the first thing that is wrong.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use gateway_model::{Identity, Session, SystemClock, SystemRandom, UpstreamUser, User, UserLimits, Verdict};
use gateway_store::{DatabaseUrl, Settled, Store, StoreOptions, UserIds};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// People who are signed in: more than are kept.
const PEOPLE: usize = 20_000;
/// Concurrent sign-ins while they are added: as many as fit into one commit.
const AT_ONCE: usize = 256;

/// A database full of people, and their sessions.
struct Setup {
    runtime: Runtime,
    store: Store,
    signed_in: Vec<(Session, User)>,
    directory: TempDir,
}

impl Setup {
    fn new() -> Self {
        // Beside what the build writes: the usual directory for temporary files may be in memory, where
        // nothing waits for a disk.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let runtime = Runtime::new().unwrap();
        let store = runtime.block_on(open(directory.path().join("gateway.db")));
        let signed_in = runtime.block_on(async {
            let mut signed_in = Vec::with_capacity(PEOPLE);
            let mut tasks = JoinSet::new();
            for number in 0..PEOPLE {
                if tasks.len() == AT_ONCE {
                    signed_in.push(tasks.join_next().await.unwrap().unwrap());
                }
                let store = store.clone();
                tasks.spawn(async move { sign_in(&store, &person(number)).await });
            }
            signed_in.extend(tasks.join_all().await);
            signed_in
        });
        Self {
            runtime,
            store,
            signed_in,
            directory,
        }
    }

    /// The same database in a store that has kept nothing yet.
    fn reopened(&self) -> Store {
        self.runtime
            .block_on(open(self.directory.path().join("gateway.db")))
    }
}

async fn open(path: PathBuf) -> Store {
    let options = StoreOptions {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        user_ids: UserIds::Random,
        event_retention: LIFETIME,
        limits: UserLimits::default(),
    };
    Store::open(&DatabaseUrl::File(path), options).await.unwrap()
}

fn person(number: usize) -> UpstreamUser {
    UpstreamUser {
        identity: Identity {
            provider: "bench".to_owned(),
            issuer: "https://bench.example.org".to_owned(),
            subject: number.to_string(),
        },
        email: None,
        name: format!("Person {number}"),
        avatar_url: Some("https://img.example.org/a.png".to_owned()),
        claims: gateway_model::Claims::default(),
        session: gateway_model::UpstreamSession::default(),
    }
}

/// A whole sign-in, its two commits included: of somebody new, or of somebody who is known.
async fn sign_in(store: &Store, person: &UpstreamUser) -> (Session, User) {
    let pending = store.begin_sign_in(person).await.unwrap();
    let yes = Verdict::Accepted(Default::default());
    let settled = store
        .settle_sign_in(
            &pending,
            pending.new_user.as_ref().map(|_| &yes),
            Some(&yes),
            LIFETIME,
        )
        .await
        .unwrap();
    match settled {
        Settled::SignedIn { user, session } => (session, user),
        other => panic!("nobody signed in: {other:?}"),
    }
}

fn reads(criterion: &mut Criterion, setup: &Setup) {
    let mut group = criterion.benchmark_group("store");
    let (session, user) = &setup.signed_in[0];
    group.bench_function("session-kept", |bencher| {
        bencher.iter_custom(|count| {
            setup.runtime.block_on(async {
                let begun = Instant::now();
                for _ in 0..count {
                    let found = setup.store.lookup_session(&session.id, &user.id).await.unwrap();
                    assert!(found.is_some());
                }
                begun.elapsed()
            })
        });
    });

    let mut all = setup.signed_in.iter().cycle();
    group.bench_function("user", |bencher| {
        bencher.iter_custom(|count| {
            setup.runtime.block_on(async {
                let begun = Instant::now();
                for (_, user) in all.by_ref().take(usize::try_from(count).unwrap()) {
                    assert!(setup.store.lookup_user(&user.id).await.unwrap().is_some());
                }
                begun.elapsed()
            })
        });
    });

    // A store may cache a user that it has looked up, so each store looks up every user once.
    let mut store = setup.reopened();
    let mut position = 0;
    group.bench_function("session-not-kept", |bencher| {
        bencher.iter_custom(|count| {
            let (mut left, mut took) = (usize::try_from(count).unwrap(), Duration::ZERO);
            while left > 0 {
                if position == setup.signed_in.len() {
                    (store, position) = (setup.reopened(), 0);
                }
                let end = setup.signed_in.len().min(position + left);
                took += setup.runtime.block_on(async {
                    let begun = Instant::now();
                    for (session, user) in &setup.signed_in[position..end] {
                        let found = store.lookup_session(&session.id, &user.id).await.unwrap();
                        assert!(found.is_some());
                    }
                    begun.elapsed()
                });
                left -= end - position;
                position = end;
            }
            took
        });
    });
    group.finish();
}

/// Sign-ins of people who are known: what one takes.
fn writes(criterion: &mut Criterion, setup: &Setup) {
    let mut group = criterion.benchmark_group("store");
    group.sampling_mode(SamplingMode::Flat).sample_size(20);
    let mut number = (0..PEOPLE).cycle();
    group.bench_function("sign-in", |bencher| {
        bencher.iter_custom(|count| {
            setup.runtime.block_on(async {
                let begun = Instant::now();
                for number in number.by_ref().take(usize::try_from(count).unwrap()) {
                    sign_in(&setup.store, &person(number)).await;
                }
                begun.elapsed()
            })
        });
    });
    group.bench_function("sign-in-of-64-at-once", |bencher| {
        bencher.iter_custom(|count| {
            setup.runtime.block_on(async {
                let begun = Instant::now();
                for _ in 0..count {
                    let mut tasks = JoinSet::new();
                    for number in number.by_ref().take(64) {
                        let store = setup.store.clone();
                        tasks.spawn(async move { sign_in(&store, &person(number)).await });
                    }
                    tasks.join_all().await;
                }
                begun.elapsed() / 64
            })
        });
    });
    group.finish();
}

fn store(criterion: &mut Criterion) {
    let setup = Setup::new();
    reads(criterion, &setup);
    writes(criterion, &setup);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = store
}
criterion_main!(benches);
