//! Components come, change and go while others serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gateway_sandbox::CallError;
use serde_json::json;
use test_guests::{BEHAVE, IMPORTS_CONFIG, IMPORTS_USERS, START_LOOP, V1, V2};

use crate::support::{Fixture, log, metrics, set};

fn one() -> gateway_host::PluginSet {
    set(&[("s", "p")], &[])
}

#[tokio::test]
async fn a_file_is_placed_replaced_removed_and_restored() {
    let fixture = Fixture::new(&[], one()).await;
    assert!(matches!(fixture.ask("s").await, Err(CallError::NotLoaded { .. })));

    std::fs::write(fixture.path("p"), V1).unwrap();
    fixture.wait("p", |status| status.generation.is_some()).await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);

    fixture.put("p", V2);
    fixture
        .wait("p", |status| matches!(status.generation, Some((2, _))))
        .await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 2);

    std::fs::write(fixture.path("p"), V1).unwrap();
    fixture
        .wait("p", |status| matches!(status.generation, Some((3, _))))
        .await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);

    std::fs::remove_file(fixture.path("p")).unwrap();
    let status = fixture.wait("p", |status| status.generation.is_none()).await;
    assert!(status.problem.unwrap().contains("there is no"));
    assert!(matches!(fixture.ask("s").await, Err(CallError::NotLoaded { .. })));

    fixture.put("p", V2);
    fixture
        .wait("p", |status| matches!(status.generation, Some((4, _))))
        .await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 2);

    std::fs::rename(fixture.path("p"), fixture.path("elsewhere")).unwrap();
    fixture.wait("p", |status| status.generation.is_none()).await;
}

#[tokio::test]
async fn a_bad_file_leaves_the_old_generation_serving() {
    let fixture = Fixture::new(&[("bad-swap", V1)], set(&[("s", "bad-swap")], &[])).await;
    for bad in [b"rubbish", &V2[..V2.len() / 2], START_LOOP, b""] {
        std::fs::write(fixture.path("bad-swap"), bad).unwrap();
        fixture.host.reconfigure(set(&[("s", "bad-swap")], &[])).await;
        let status = fixture.status("bad-swap");
        assert!(status.problem.is_some());
        assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
    }
    assert!(
        metrics()
            .render()
            .contains("gateway_plugin_problem{plugin=\"bad-swap\"} 1\n")
    );
    fixture.put("bad-swap", V1);
    let status = fixture.wait("bad-swap", |status| status.problem.is_none()).await;
    assert_eq!(status.generation.unwrap().0, 1, "it is the one that serves");
    assert!(
        metrics()
            .render()
            .contains("gateway_plugin_problem{plugin=\"bad-swap\"} 0\n")
    );
}

#[tokio::test]
async fn a_file_written_byte_by_byte_serves_when_it_is_whole() {
    use std::io::Write;
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    let mut file = std::fs::File::create(fixture.path("p")).unwrap();
    let (last, rest) = V2.split_last().unwrap();
    for chunk in rest.chunks(V2.len() / 30) {
        file.write_all(chunk).unwrap();
        let status = fixture.host.reload("p").await.unwrap();
        assert!(status.problem.is_some(), "half a component is none");
        assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
    }
    file.write_all(&[*last]).unwrap();
    drop(file);
    fixture
        .wait("p", |status| {
            matches!(status.generation, Some((2, _))) && status.problem.is_none()
        })
        .await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_lose_nothing_and_mix_nothing() {
    let fixture = Arc::new(Fixture::new(&[("p", V1)], one()).await);
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (fixture, stop, answered) = (Arc::clone(&fixture), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = fixture.ask("s").await.unwrap();
                    assert_eq!(answer["version"], answer["also"]);
                    assert_eq!(answer["digest-hint"], json!(format!("v{}", answer["version"])));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for swap in 2..=if cfg!(feature = "test-all") { 40 } else { 8 } {
        fixture.put("p", if swap % 2 == 0 { V2 } else { V1 });
        fixture
            .wait("p", |status| {
                status
                    .generation
                    .as_ref()
                    .is_some_and(|(number, _)| *number >= swap)
            })
            .await;
        let before = answered.load(Ordering::Relaxed);
        while answered.load(Ordering::Relaxed) == before {
            assert!(
                !load.iter().any(tokio::task::JoinHandle::is_finished),
                "a caller has ended"
            );
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert!(answered.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_call_ends_on_the_generation_it_began_with() {
    let mut set = set(&[("sleep", "p")], &[]);
    set.plugins.get_mut("p").unwrap().limits.deadline = Duration::from_secs(3);
    let fixture = Fixture::new(&[("p", BEHAVE)], set).await;
    let sleeping = fixture.ask("sleep");
    let swapping = async {
        fixture.put("p", V1);
        fixture
            .wait("p", |status| matches!(status.generation, Some((2, _))))
            .await;
        assert_eq!(
            fixture.ask("sleep").await.unwrap()["version"],
            1,
            "new calls are the new one's"
        );
    };
    let (slept, ()) = tokio::join!(sleeping, swapping);
    assert!(
        matches!(slept, Err(CallError::DeadlineExceeded { .. })),
        "the old one slept on: {slept:?}"
    );
}

#[tokio::test]
async fn the_whole_directory_may_be_replaced() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    let dir = fixture.dir.path().join("plugins");
    std::fs::rename(&dir, fixture.dir.path().join("old")).unwrap();
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(fixture.path("p"), V2).unwrap();
    fixture
        .wait("p", |status| {
            status.generation.as_ref().is_some_and(|(number, _)| *number >= 2)
        })
        .await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 2);
    fixture.put("p", V1);
    fixture
        .wait("p", |status| {
            status.generation.as_ref().is_some_and(|(number, _)| *number >= 3)
        })
        .await;
}

/// The number of the log's lines with this text about a directory.
fn lines(directory: &std::path::Path, text: &str) -> usize {
    let directory = directory.display().to_string();
    log()
        .lines()
        .filter(|line| line.contains(text) && line.contains(&directory))
        .count()
}

const AWAY: &str = "cannot read the plugin directory";
const BACK: &str = "the plugin directory can be read again";

#[tokio::test]
async fn u3_a_directory_that_cannot_be_read_withdraws_nothing() {
    let fixture = Fixture::new(
        &[("away-p", V1), ("away-q", V2)],
        set(&[("s", "away-p"), ("t", "away-q")], &[]),
    )
    .await;
    let dir = fixture.dir.path().join("plugins").canonicalize().unwrap();
    let aside = fixture.dir.path().join("aside");
    let said = async |text: &str, count: usize| {
        let waited = tokio::time::timeout(Duration::from_secs(240), async {
            while lines(&dir, text) < count {
                tokio::task::yield_now().await;
            }
        });
        assert!(waited.await.is_ok(), "{}", log());
    };
    let away = async |what: &str| {
        for (name, service, version) in [("away-p", "s", 1), ("away-q", "t", 2)] {
            fixture.wait(name, |status| status.problem.is_some()).await;
            // A reload changes nothing either.
            let status = fixture.host.reload(name).await.unwrap();
            assert!(status.generation.is_some(), "{status:?}");
            let problem = status.problem.unwrap();
            assert!(problem.contains(AWAY) && problem.contains(what), "{problem}");
            assert_eq!(fixture.ask(service).await.unwrap()["version"], version);
        }
    };
    let back = async || {
        for name in ["away-p", "away-q"] {
            fixture.wait(name, |status| status.problem.is_none()).await;
        }
    };

    std::fs::rename(&dir, &aside).unwrap();
    away("No such file").await;
    said(AWAY, 1).await;
    std::fs::rename(&aside, &dir).unwrap();
    back().await;
    said(BACK, 1).await;

    // Links and files in its place.
    std::fs::rename(&dir, &aside).unwrap();
    std::fs::write(&dir, b"a file").unwrap();
    away("Not a directory").await;
    said(AWAY, 2).await;
    std::fs::remove_file(&dir).unwrap();
    std::os::unix::fs::symlink(&dir, &dir).unwrap();
    away("").await;
    std::fs::remove_file(&dir).unwrap();

    // As after unmounting a file system.
    std::fs::create_dir(&dir).unwrap();
    away("").await;
    std::fs::remove_dir(&dir).unwrap();
    std::fs::rename(&aside, &dir).unwrap();
    back().await;
    said(BACK, 2).await;
    assert_eq!((lines(&dir, AWAY), lines(&dir, BACK)), (2, 2), "{}", log());
    assert_eq!(
        fixture.status("away-p").generation.unwrap().0,
        1,
        "the same generation all the time"
    );

    // In the directory itself a missing file is one that was taken away.
    std::fs::remove_file(fixture.path("away-p")).unwrap();
    fixture.wait("away-p", |status| status.generation.is_none()).await;
    assert_eq!(fixture.ask("t").await.unwrap()["version"], 2);
}

#[tokio::test]
async fn u3_a_rollback_holds_while_the_directory_is_away_and_after() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    fixture.put("p", V2);
    fixture
        .wait("p", |status| matches!(status.generation, Some((2, _))))
        .await;
    let (dir, aside) = (
        fixture.dir.path().join("plugins"),
        fixture.dir.path().join("aside"),
    );
    std::fs::rename(&dir, &aside).unwrap();
    fixture.wait("p", |status| status.problem.is_some()).await;
    fixture.host.rollback("p").await.unwrap();
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
    std::fs::rename(&aside, &dir).unwrap();
    // The watcher looks at every file when the directory is back; so does a new configuration.
    fixture.host.reconfigure(one()).await;
    let status = fixture.host.reload("p").await.unwrap();
    assert!(status.rolled_back && status.problem.is_none(), "{status:?}");
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
}

#[tokio::test]
async fn u9_a_directory_that_is_away_is_said_once() {
    let fixture = Fixture::new(&[("once-p", V1)], set(&[("s", "once-p")], &[])).await;
    let dir = fixture.dir.path().join("plugins").canonicalize().unwrap();
    let aside = fixture.dir.path().join("aside");
    std::fs::rename(&dir, &aside).unwrap();
    fixture.wait("once-p", |status| status.problem.is_some()).await;
    // Longer than three of the host's regular looks.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!((lines(&dir, AWAY), lines(&dir, BACK)), (1, 0), "{}", log());
    std::fs::rename(&aside, &dir).unwrap();
    fixture.wait("once-p", |status| status.problem.is_none()).await;
    assert_eq!((lines(&dir, AWAY), lines(&dir, BACK)), (1, 1), "{}", log());
    let about = log()
        .lines()
        .filter(|line| line.contains("once-p") && line.contains("WARN"))
        .count();
    assert_eq!(about, 0, "the directory's line is enough: {}", log());
}

#[tokio::test]
async fn changed_settings_grants_services_and_limits_take_effect() {
    let mut set = set(&[("name", "c")], &[]);
    set.plugins.get_mut("c").unwrap().settings = [("name".into(), "old".into())].into();
    let fixture = Fixture::new(&[("c", IMPORTS_CONFIG), ("u", IMPORTS_USERS)], set.clone()).await;
    assert_eq!(fixture.ask("name").await.unwrap()["name"], "old");

    set.plugins
        .get_mut("c")
        .unwrap()
        .settings
        .insert("name".into(), "new".into());
    fixture.host.reconfigure(set.clone()).await;
    assert_eq!(fixture.ask("name").await.unwrap()["name"], "new");
    assert_eq!(
        fixture.status("c").generation.unwrap().0,
        1,
        "it is the same component"
    );

    fixture.host.reconfigure(set.clone()).await;
    assert_eq!(fixture.status("c").generation.unwrap().0, 1, "nothing changed");

    // A grant that is removed is gone immediately, and comes back with its line.
    let mut wrong = set.clone();
    wrong.plugins.get_mut("c").unwrap().grants.clear();
    fixture.host.reconfigure(wrong).await;
    fixture.ask("name").await.unwrap_err();
    assert!(fixture.problem("c").contains("has not been granted"));
    fixture.host.reconfigure(set.clone()).await;
    assert_eq!(fixture.ask("name").await.unwrap()["name"], "new");

    // A mistake keeps what was in force.

    set.services = [("other".to_owned(), "c".to_owned())].into();
    set.plugins.get_mut("c").unwrap().limits.fuel = 10;
    fixture.host.reconfigure(set.clone()).await;
    assert_eq!(fixture.host.services(), ["other"]);
    assert!(
        fixture.problem("c").contains("ran out of fuel"),
        "the trial finds it: {}",
        fixture.problem("c")
    );

    set.services.clear();
    set.plugins.clear();
    fixture.host.reconfigure(set).await;
    assert!(fixture.host.status().is_empty());
    assert!(matches!(
        fixture.ask("name").await,
        Err(CallError::NotConfigured { .. })
    ));
}

#[tokio::test]
async fn a_broken_file_does_not_keep_new_settings_out() {
    let mut set = set(&[("name", "c")], &[]);
    let fixture = Fixture::new(&[("c", IMPORTS_CONFIG)], set.clone()).await;
    std::fs::write(fixture.path("c"), b"rubbish").unwrap();
    set.plugins.get_mut("c").unwrap().settings = [("name".into(), "new".into())].into();
    fixture.host.reconfigure(set).await;
    assert_eq!(fixture.ask("name").await.unwrap()["name"], "new");
    assert!(fixture.status("c").problem.is_some());
}

#[tokio::test]
async fn a_start_takes_compiled_code_from_the_cache_unless_it_was_touched() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    let cache = fixture.dir.path().join("cache");
    let entry = || {
        let mut entries = std::fs::read_dir(&cache)
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        entries
            .find(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
            .unwrap()
    };
    let written = std::fs::read(entry()).unwrap();

    // Made unwritable, so that compiling again would be seen.
    let inode =
        |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let before = inode(&entry());
    let fixture = fixture.restart(one()).await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
    assert_eq!(inode(&entry()), before, "it was not written again");

    let mut poisoned = written.clone();
    let middle = poisoned.len() / 2;
    poisoned[middle] ^= 1;
    std::fs::write(entry(), poisoned).unwrap();
    let fixture = fixture.restart(one()).await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
    assert_ne!(inode(&entry()), before, "it was compiled and written again");
}

#[tokio::test]
async fn a_start_with_a_broken_file_serves_the_last_good_one() {
    let fixture = Fixture::new(&[("p", V1)], one()).await;
    std::fs::write(fixture.path("p"), &V2[..V2.len() / 2]).unwrap();
    let fixture = fixture.restart(one()).await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
    assert!(
        fixture.problem("p").contains("not a valid component"),
        "{}",
        fixture.problem("p")
    );

    // But a file that was taken away stays away.
    std::fs::remove_file(fixture.path("p")).unwrap();
    let fixture = fixture.restart(one()).await;
    assert!(fixture.status("p").generation.is_none());
    std::fs::write(fixture.path("p"), b"rubbish").unwrap();
    let fixture = fixture.restart(one()).await;
    assert!(
        fixture.status("p").generation.is_none(),
        "nor does it come back by a broken one"
    );
}
