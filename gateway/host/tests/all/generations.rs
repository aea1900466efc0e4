//! Good generations are kept, numbered and gone back to.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use gateway_host::{CompileOptions, RollbackError};
use gateway_sandbox::Grant;
use sha2::Digest as _;
use test_guests::{IMPORTS_LOGGING, LOGIN_ONLY, V1, V2};

use crate::support::{Fixture, set};

fn one() -> gateway_host::PluginSet {
    set(&[("s", "p")], &[])
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

impl Fixture {
    fn number(&self) -> u64 {
        self.status("p").generation.unwrap().0
    }

    async fn version(&self) -> u64 {
        self.ask("s").await.unwrap()["version"].as_u64().unwrap()
    }

    /// Puts a file there and waits until it serves under this number.
    async fn deploy(&self, bytes: &[u8], number: u64) {
        self.put("p", bytes);
        self.wait(
            "p",
            |status| matches!(&status.generation, Some((serving, _)) if *serving == number),
        )
        .await;
    }

    /// Looks at all files again, as SIGHUP does.
    async fn look_again(&self) {
        self.host.reconfigure(one()).await;
    }
}

/// A component that differs from `bytes` in a custom section only.
fn variant(bytes: &[u8], name: u8) -> Vec<u8> {
    [bytes, &[0, 3, 1, name, 0]].concat()
}

#[tokio::test]
async fn numbers_go_on_across_restarts_and_configurations() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    fixture.deploy(V2, 2).await;
    let fixture = fixture.restart(one()).await;
    assert_eq!(fixture.number(), 2, "it is the same file");
    let mut changed = one();
    changed.plugins.get_mut("p").unwrap().limits.fuel += 1;
    fixture.host.reconfigure(changed).await;
    assert_eq!(fixture.number(), 2, "nor does a limit make it another");
    std::fs::write(fixture.path("p"), V1).unwrap();
    let fixture = fixture.restart(one()).await;
    assert_eq!(fixture.number(), 3);
    let kept = fixture.status("p").kept;
    let kept: Vec<_> = kept
        .iter()
        .map(|kept| (kept.number, kept.digest.to_string()))
        .collect();
    assert_eq!(kept, [(1, digest(V1)), (2, digest(V2)), (3, digest(V1))]);
}

#[tokio::test]
async fn rolling_back_goes_on_to_the_oldest_and_holds() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    fixture.deploy(V2, 2).await;
    let third = variant(V1, b'3');
    fixture.deploy(&third, 3).await;

    let status = fixture.host.rollback("p").await.unwrap();
    assert_eq!(status.generation, Some((2, digest(V2))));
    assert!(status.rolled_back && status.problem.is_none());
    assert_eq!(fixture.version().await, 2);

    fixture.look_again().await;
    assert_eq!(
        fixture.version().await,
        2,
        "a new look at the file changes nothing"
    );
    // Another inode and time, the same bytes.
    fixture.put("p", &third);
    fixture.look_again().await;
    assert_eq!(fixture.number(), 2);
    let fixture = fixture.restart(one()).await;
    assert_eq!(fixture.version().await, 2, "nor does a restart");
    assert!(fixture.status("p").rolled_back);

    let status = fixture.host.rollback("p").await.unwrap();
    assert_eq!(status.generation, Some((1, digest(V1))));
    assert_eq!(fixture.version().await, 1);
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(
        matches!(error, RollbackError::Oldest { number: 1, .. }),
        "{error}"
    );
    assert_eq!(fixture.number(), 1);

    // Another file ends it.
    fixture.deploy(V2, 4).await;
    assert!(!fixture.status("p").rolled_back);
    assert_eq!(fixture.version().await, 2);
    // A rollback does not return to the generation that was rolled back.
    let status = fixture.host.rollback("p").await.unwrap();
    assert_eq!(status.generation.unwrap().0, 1);
    let error = fixture.host.rollback("nobody").await.unwrap_err();
    assert!(matches!(error, RollbackError::NotConfigured { .. }));
}

#[tokio::test]
async fn the_file_that_was_gone_back_to_ends_a_rollback_too() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    fixture.deploy(V2, 2).await;
    fixture.host.rollback("p").await.unwrap();
    fixture.put("p", V1);
    let status = fixture.wait("p", |status| !status.rolled_back).await;
    assert_eq!(status.generation, Some((1, digest(V1))));
    fixture.deploy(V2, 3).await;
}

#[tokio::test]
async fn a_broken_file_neither_ends_a_rollback_nor_hinders_one() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    fixture.deploy(V2, 2).await;
    fixture.put("p", b"rubbish");
    fixture.wait("p", |status| status.problem.is_some()).await;
    fixture.host.rollback("p").await.unwrap();
    assert_eq!(fixture.version().await, 1);
    assert!(fixture.status("p").problem.is_none());
    let fixture = fixture.restart(one()).await;
    assert_eq!(fixture.version().await, 1);

    fixture.put("p", b"other rubbish");
    fixture.wait("p", |status| status.problem.is_some()).await;
    assert_eq!(fixture.version().await, 1);
    let fixture = fixture.restart(one()).await;
    assert_eq!(fixture.version().await, 1, "what served serves again");
    fixture.deploy(V2, 3).await;
}

#[tokio::test]
async fn a_plugin_whose_file_was_taken_away_does_not_come_back() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    fixture.deploy(V2, 2).await;
    std::fs::remove_file(fixture.path("p")).unwrap();
    // Before it is noticed, and after.
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(matches!(error, RollbackError::Withdrawn { .. }), "{error}");
    fixture.wait("p", |status| status.generation.is_none()).await;
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(matches!(error, RollbackError::Withdrawn { .. }), "{error}");
    let fixture = fixture.restart(one()).await;
    fixture.put("p", b"rubbish");
    let fixture = fixture.restart(one()).await;
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(matches!(error, RollbackError::Withdrawn { .. }), "{error}");
    assert!(fixture.status("p").generation.is_none());
    fixture.deploy(V2, 3).await;
}

#[tokio::test]
async fn an_earlier_generation_is_admitted_under_the_grants_of_today() {
    let fixture = Fixture::new(&[("p", IMPORTS_LOGGING)], one()).await;
    fixture.deploy(V2, 2).await;
    let mut without = one();
    without
        .plugins
        .get_mut("p")
        .unwrap()
        .grants
        .remove(&Grant::Logging);
    fixture.host.reconfigure(without.clone()).await;
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(
        matches!(&error, RollbackError::Refused { number: 1, reason, .. } if reason.contains("has not been granted")),
        "{error}"
    );
    assert_eq!(fixture.version().await, 2, "what serves serves on");

    // Nor does it serve on, or again, when the grant is taken away later.
    fixture.host.reconfigure(one()).await;
    fixture.host.rollback("p").await.unwrap();
    fixture.host.reconfigure(without.clone()).await;
    assert!(fixture.status("p").generation.is_none());
    assert!(
        fixture.problem("p").contains("rolled back to generation 1"),
        "{}",
        fixture.problem("p")
    );
    let fixture = fixture.restart(without).await;
    assert!(
        fixture.status("p").generation.is_none(),
        "not the file, which was gone back from"
    );
    fixture.host.reconfigure(one()).await;
    assert_eq!(fixture.number(), 1);
}

#[tokio::test]
async fn what_no_longer_has_its_role_is_refused() {
    let mut both = one();
    both.extensions.push("p".to_owned());
    let hook = set(&[], &["p"]);
    let fixture = Fixture::new(&[("p", LOGIN_ONLY)], hook.clone()).await;
    fixture.host.reconfigure(one()).await;
    assert!(
        fixture.problem("p").contains("does not export"),
        "{}",
        fixture.problem("p")
    );
    fixture.deploy(V1, 2).await;
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(matches!(error, RollbackError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_kept_generation_that_was_touched_is_not_used() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    fixture.deploy(V2, 2).await;
    let cache = fixture.dir.path().join("cache");
    let flip = |name: &str| {
        let path = cache.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    flip(&format!("{}.component", digest(V1)));
    let fixture = fixture.restart(one()).await;
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(
        matches!(&error, RollbackError::Refused { reason, .. } if reason.contains("damaged")),
        "{error}"
    );
    assert_eq!(fixture.version().await, 2);

    // A start with a broken file finds nothing to serve, and says so.
    flip(&format!("{}.component", digest(V2)));
    std::fs::write(fixture.path("p"), b"rubbish").unwrap();
    let fixture = fixture.restart(one()).await;
    assert!(fixture.status("p").generation.is_none());
    // The good file mends what is kept. Nor is a record that was touched believed.
    fixture.deploy(V2, 2).await;
    flip("p.generations");
    let fixture = fixture.restart(one()).await;
    assert_eq!(fixture.number(), 1);
    assert_eq!(fixture.status("p").kept.len(), 1);
}

/// A compiler that gives the code that `from` had in its cache of a component, once there is the file
/// `go`; there is the file `asked` as soon as it is asked.
fn compiler_of(from: &Fixture, component: &[u8], dir: &std::path::Path) -> CompileOptions {
    let cache = from.dir.path().join("cache");
    // The cache's tag of 32 bytes precedes the code.
    let script = format!(
        "cat >/dev/null; touch {dir}/asked; while [ ! -e {dir}/go ]; do sleep 0.02; done; \
         exec tail -c +33 {cache}/{digest}-*.cwasm",
        dir = dir.display(),
        cache = cache.display(),
        digest = digest(component)
    );
    CompileOptions {
        command: Some(["/bin/sh", "-c", &script].map(OsString::from).to_vec()),
        time: Duration::from_secs(240),
        ..CompileOptions::default()
    }
}

#[tokio::test]
async fn a_file_that_is_still_being_looked_at_does_not_undo_a_rollback() {
    let third = variant(V1, b'3');
    let elsewhere = Fixture::new(&[("p", &third)], one()).await;
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::new(&[("p", V1)], one()).await;
    fixture.deploy(V2, 2).await;
    fixture.compile = compiler_of(&elsewhere, &third, dir.path());
    let fixture = fixture.restart(one()).await;

    fixture.put("p", &third);
    let looking = fixture.host.reload("p");
    let going_back = async {
        while !dir.path().join("asked").exists() {
            tokio::task::yield_now().await;
        }
        fixture.host.rollback("p").await.unwrap();
        std::fs::write(dir.path().join("go"), "").unwrap();
    };
    let (status, ()) = tokio::join!(looking, going_back);
    let status = status.unwrap();
    assert_eq!(status.generation, Some((1, digest(V1))), "{status:?}");
    assert!(status.rolled_back);
    assert_eq!(fixture.version().await, 1);
    // It held back that one look, not the plugin.
    fixture.deploy(V2, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollbacks_and_new_files_at_once_agree_with_what_is_on_record() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    for round in 0..15_u8 {
        fixture.put("p", &variant(if round % 2 == 0 { V2 } else { V1 }, round));
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 12)).await;
        let _ = fixture.host.rollback("p").await;
    }
    // The watcher still examines this file, which changes nothing more.
    let before = fixture.host.reload("p").await.unwrap();
    let fixture = fixture.restart(one()).await;
    let after = fixture.status("p");
    assert_eq!(after.generation, before.generation);
    assert_eq!((after.kept, after.rolled_back), (before.kept, before.rolled_back));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_look_at_an_old_file_never_comes_into_force_after_a_quick_one() {
    let fixture = Arc::new(Fixture::new(&[("turns", V1)], set(&[("s", "turns")], &[])).await);
    for round in 0..15_u8 {
        // It is new, so it is compiled; the previous file's code is in the cache.
        let mut slow = V2.to_vec();
        slow.extend([0, 2, 1, round]);
        fixture.put("turns", &slow);
        let looks: Vec<_> = (0..3)
            .map(|_| {
                let fixture = Arc::clone(&fixture);
                tokio::spawn(async move { fixture.host.reload("turns").await })
            })
            .collect();
        tokio::task::yield_now().await;
        fixture.put("turns", V1);
        fixture.host.reload("turns").await;
        for look in looks {
            look.await.unwrap();
        }
        let version = fixture.ask("s").await.unwrap()["version"].clone();
        assert_eq!(version, 1, "round {round}");
    }
}
