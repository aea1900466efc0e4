//! A slow or missing plugin delays nothing else, at the start and after a new configuration.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use gateway_host::{CompileOptions, PluginSet};
use gateway_sandbox::{CallError, Grant};
use test_guests::{IMPORTS_CONFIG, V1, V2};

use crate::support::{Fixture, set};

/// A component that nobody has compiled: it differs from `bytes` in a custom section only.
fn fresh(bytes: &[u8], name: u8) -> Vec<u8> {
    [bytes, &[0, 3, 1, name, 1]].concat()
}

/// A compiler that notes each of its runs in a directory, and does what `then` says.
fn compiler(dir: &Path, then: &str) -> CompileOptions {
    let text = format!("cat >/dev/null; touch {}/run.$$; {then}", dir.display());
    CompileOptions {
        command: Some(["/bin/sh", "-c", &text].map(OsString::from).to_vec()),
        time: Duration::from_secs(3600),
        // So little that it has all of it from the beginning.
        memory: 256 << 20,
        ..CompileOptions::default()
    }
}

fn runs(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names
        .filter_map(|name| name.strip_prefix("run.").map(ToOwned::to_owned))
        .collect()
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let waited = async {
        while !is() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(240), waited).await;
    assert!(waited.is_ok(), "{what}");
}

fn is_running(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn quick_and_slow() -> PluginSet {
    let mut set = set(&[("name", "quick"), ("s", "slow")], &[]);
    set.plugins.get_mut("quick").unwrap().settings = [("name".into(), "old".into())].into();
    set
}

#[tokio::test]
async fn a_slow_file_holds_up_neither_the_start_nor_a_new_configuration_nor_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = quick_and_slow();
    let mut fixture = Fixture::new(&[("quick", IMPORTS_CONFIG)], set.clone()).await;
    fs::write(fixture.path("slow"), fresh(V2, b's')).unwrap();
    fixture.compile = compiler(dir.path(), "exec sleep 3600");
    let (fixture, admissions) = fixture.reopen(set.clone()).await;
    fixture.wait("quick", |status| status.generation.is_some()).await;
    assert_eq!(fixture.ask("name").await.unwrap()["name"], "old");
    let status = fixture.status("slow");
    assert!(
        status.being_admitted && status.problem.is_none() && status.generation.is_none(),
        "{status:?}"
    );
    let error = fixture.ask("s").await.unwrap_err();
    assert!(
        matches!(&error, CallError::NotLoaded { problem, .. } if problem.contains("being admitted")),
        "{error}"
    );
    until("it is compiled", || runs(dir.path()).len() == 1).await;

    // A new configuration takes effect immediately.
    let slow = set.plugins.get_mut("slow").unwrap();
    slow.grants.clear();
    let quick = set.plugins.get_mut("quick").unwrap();
    quick.settings.insert("name".into(), "new".into());
    fixture.host.adopt(set.clone()).await;
    assert_eq!(fixture.ask("name").await.unwrap()["name"], "new");
    set.plugins
        .get_mut("quick")
        .unwrap()
        .grants
        .remove(&Grant::Config);
    fixture.host.adopt(set.clone()).await;
    fixture.ask("name").await.unwrap_err();
    assert!(
        fixture.problem("quick").contains("has not been granted"),
        "{}",
        fixture.problem("quick")
    );
    // Nor is what is being compiled compiled again for it.
    let reloaded = fixture.host.adopt(quick_and_slow()).await;
    fixture.wait("quick", |status| status.generation.is_some()).await;
    let compilers = runs(dir.path());
    assert_eq!(compilers.len(), 1);
    assert!(is_running(&compilers[0]));

    fixture.host.shutdown().await;
    admissions.done().await;
    reloaded.done().await;
    until("the compiler is stopped", || !is_running(&compilers[0])).await;
}

#[tokio::test]
async fn what_serves_is_configured_anew_while_its_new_file_compiles() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = set(&[("name", "c")], &[]);
    let config = set.plugins.get_mut("c").unwrap();
    config.settings = [("name".into(), "old".into())].into();
    let mut fixture = Fixture::new(&[("c", IMPORTS_CONFIG)], set.clone()).await;
    fixture.compile = compiler(dir.path(), "exec sleep 3600");
    let fixture = fixture.restart(set.clone()).await;
    fixture.put("c", &fresh(IMPORTS_CONFIG, b'n'));
    until("it is compiled", || runs(dir.path()).len() == 1).await;
    assert_eq!(fixture.ask("name").await.unwrap()["name"], "old");

    let config = set.plugins.get_mut("c").unwrap();
    config.settings.insert("name".into(), "new".into());
    fixture.host.adopt(set.clone()).await;
    assert_eq!(fixture.ask("name").await.unwrap()["name"], "new");
    set.plugins.get_mut("c").unwrap().grants.remove(&Grant::Config);
    fixture.host.adopt(set).await;
    fixture.ask("name").await.unwrap_err();
    assert_eq!(runs(dir.path()).len(), 1, "one compiler for one file");
}

#[tokio::test]
async fn a_new_file_does_not_wait_for_the_slow_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let set = set(&[("s", "p")], &[]);
    let mut fixture = Fixture::new(&[("p", V1)], set.clone()).await;
    fixture.put("p", V2);
    fixture
        .wait("p", |status| matches!(status.generation, Some((2, _))))
        .await;
    fixture.compile = compiler(dir.path(), "exec sleep 3600");
    let fixture = fixture.restart(set).await;
    fixture.put("p", &fresh(V2, b'x'));
    until("it is compiled", || runs(dir.path()).len() == 1).await;
    fixture.put("p", V1);
    fixture
        .wait("p", |status| matches!(status.generation, Some((3, _))))
        .await;
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
    let compiler = runs(dir.path()).remove(0);
    until("nobody wants its code", || !is_running(&compiler)).await;
}

#[tokio::test]
async fn the_last_good_generation_serves_while_the_new_file_compiles_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let set = set(&[("s", "p")], &[]);
    let mut fixture = Fixture::new(&[("p", V1)], set.clone()).await;
    let new = fresh(V2, b'i');
    fs::write(fixture.path("p"), &new).unwrap();
    fixture.host.shutdown().await;
    fixture.compile = compiler(dir.path(), "exec sleep 3600");
    let (fixture, _) = fixture.reopen(set.clone()).await;
    let status = fixture.wait("p", |status| status.generation.is_some()).await;
    assert!(status.being_admitted, "{status:?}");
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);

    // Not if the file was removed before the start.
    fs::remove_file(fixture.path("p")).unwrap();
    let fixture = fixture.restart(set).await;
    assert!(fixture.status("p").generation.is_none());
}

#[tokio::test]
async fn a_file_that_was_given_up_is_not_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let set = set(&[("s", "p"), ("t", "q")], &[]);
    let bomb = fresh(V1, b'b');
    // 71: it took more memory than it may.
    let fixture = Fixture::with_compiler(&[("p", &bomb)], set.clone(), compiler(dir.path(), "exit 71")).await;
    assert_eq!(runs(dir.path()).len(), 1);
    fixture.host.reconfigure(set.clone()).await;
    fixture.host.reload("p").await;
    fixture.put("p", &bomb);
    fixture.put("q", &bomb);
    fixture.host.reload("p").await;
    fixture.host.reload("q").await;
    for name in ["p", "q"] {
        let problem = fixture.problem(name);
        assert!(
            problem.contains("takes more than") && problem.contains("does not try this file again"),
            "{problem}"
        );
    }
    assert_eq!(runs(dir.path()).len(), 1);
    fixture.put("p", &fresh(V1, b'c'));
    fixture.host.reload("p").await;
    assert_eq!(runs(dir.path()).len(), 2, "another file is another matter");
}

#[tokio::test]
async fn a_problem_that_has_passed_is_not_shown_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let set = set(&[("s", "p")], &[]);
    let file = fresh(V1, b'p');
    let elsewhere = Fixture::new(&[("p", &file)], set.clone()).await;
    // It crashes, until there is the file `well`; then it gives the code that was compiled elsewhere.
    let then = format!(
        "if [ -e {dir}/well ]; then exec tail -c +33 {cache}/{digest}-*.cwasm; fi; exit 1",
        dir = dir.path().display(),
        cache = elsewhere.dir.path().join("cache").display(),
        digest = elsewhere.status("p").generation.unwrap().1,
    );
    let fixture = Fixture::with_compiler(&[("p", &file)], set, compiler(dir.path(), &then)).await;
    assert!(fixture.problem("p").contains("compiling it failed"));
    fs::write(dir.path().join("well"), "").unwrap();
    fixture
        .wait("p", |status| {
            status.generation.is_some() && status.problem.is_none()
        })
        .await;
}

#[tokio::test]
async fn u3_another_directory_in_place_of_the_plugins_withdraws_none_of_them() {
    let set = set(&[("s", "p"), ("t", "q")], &[]);
    let fixture = Fixture::new(&[("p", V1), ("q", V2)], set.clone()).await;
    let root = fixture.dir.path().to_owned();
    let (dir, aside) = (root.join("plugins"), root.join("aside"));
    fs::rename(&dir, &aside).unwrap();
    fs::create_dir(&dir).unwrap();
    fixture.put("q", V2);
    let serves_on = async |fixture: &Fixture| {
        let status = fixture
            .wait("p", |status| {
                let problem = status.problem.as_deref().unwrap_or_default();
                problem.contains("not the directory in which the file was last seen")
            })
            .await;
        assert!(status.generation.is_some(), "{status:?}");
        assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
        assert_eq!(fixture.ask("t").await.unwrap()["version"], 2);
    };
    serves_on(&fixture).await;
    fixture.host.reconfigure(set.clone()).await;
    serves_on(&fixture).await;
    // Nor does a start.
    let fixture = fixture.restart(set.clone()).await;
    serves_on(&fixture).await;

    // With nothing in it, it is a file system that is not mounted.
    fs::remove_file(fixture.path("q")).unwrap();
    fixture.wait("q", |status| status.generation.is_none()).await;
    fixture.put("q", V2);
    fixture.wait("q", |status| status.generation.is_some()).await;
    fixture.host.shutdown().await;
    fs::rename(&dir, root.join("other")).unwrap();
    fs::create_dir(&dir).unwrap();
    let fixture = fixture.restart(set.clone()).await;
    for (name, service) in [("p", "s"), ("q", "t")] {
        assert!(
            fixture.problem(name).contains("not mounted"),
            "{}",
            fixture.problem(name)
        );
        fixture.ask(service).await.unwrap();
    }
    fs::remove_dir(&dir).unwrap();
    fs::rename(&aside, &dir).unwrap();
    for name in ["p", "q"] {
        fixture.wait(name, |status| status.problem.is_none()).await;
    }

    // A file that an operator removes from the directory is gone, also if that happens before a start.
    fixture.host.shutdown().await;
    for name in ["p", "q"] {
        fs::remove_file(fixture.path(name)).unwrap();
    }
    let fixture = fixture.restart(set).await;
    for name in ["p", "q"] {
        let status = fixture.status(name);
        assert!(status.generation.is_none(), "{status:?}");
        assert!(status.problem.unwrap().contains("there is no"));
    }
}
