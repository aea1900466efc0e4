//! Compiling in a separate process: its limits, and its results.

use std::ffi::OsString;
use std::time::Duration;

use gateway_host::{CompileOptions, PluginSet};
use test_guests::{V1, V2};

use crate::support::{Fixture, log, set};

fn one() -> PluginSet {
    set(&[("s", "p")], &[])
}

/// A compiler that is a shell script.
fn script(text: &str) -> CompileOptions {
    CompileOptions {
        command: Some(["/bin/sh", "-c", text].map(OsString::from).to_vec()),
        // Far more than it needs, for busy machines.
        time: Duration::from_secs(60),
        ..CompileOptions::default()
    }
}

async fn problem(options: CompileOptions) -> String {
    let fixture = Fixture::with_compiler(&[("p", V1)], one(), options).await;
    assert!(fixture.status("p").generation.is_none());
    fixture.problem("p")
}

#[tokio::test]
async fn a_compiler_that_fails_is_no_compiler_of_ours() {
    for (text, expected) in [
        ("cat >/dev/null; echo rubbish", "compiling it failed"),
        ("cat >/dev/null", "compiling it failed"),
        ("exit 7", "exit status: 7"),
        ("echo first >&2; echo second >&2; exit 1", ": first"),
        ("kill -SEGV $$", "SIGSEGV"),
        ("kill -XCPU $$", "takes longer than 60s"),
        (
            "echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$",
            "more than 2147483648 bytes",
        ),
        ("exit 71", "more than 2147483648 bytes"),
        (
            "printf 'not \\033[31mred'; exit 65",
            "not a valid component: not \\u{1b}[31mred",
        ),
    ] {
        let problem = problem(script(text)).await;
        assert!(problem.contains(expected), "{text}: {problem}");
    }
    let nothing = CompileOptions {
        command: Some(vec!["/nonexistent/compiler".into()]),
        ..CompileOptions::default()
    };
    let problem = problem(nothing).await;
    assert!(problem.contains("compiling it failed"), "{problem}");
}

#[tokio::test]
async fn one_that_takes_too_long_is_killed() {
    let mark = tempfile::NamedTempFile::new().unwrap();
    let mut options = script(&format!("echo $$ > {}; exec sleep 600", mark.path().display()));
    options.time = Duration::from_secs(2);
    let problem = problem(options).await;
    assert!(problem.contains("takes longer than 2s"), "{problem}");
    let pid = std::fs::read_to_string(mark.path()).unwrap();
    // A process that has been killed may take a moment to be gone; left alone, this one takes ten minutes.
    let gone = async {
        while is_running(pid.trim()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(240), gone).await;
    assert!(gone.is_ok(), "the compiler {pid} goes on");
}

fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn it_gets_limits_no_environment_and_not_more_than_four_run() {
    let dir = tempfile::tempdir().unwrap();
    let options = script(&format!(
        "cd {}; echo \"$@\" > arguments.$$; env > environment; ls | grep -c running >> together; \
         touch running.$$; sleep 0.5; rm running.$$; exit 1",
        dir.path().display()
    ));
    let names = ["a", "b", "c", "d", "e"];
    let variants: Vec<_> = (0..5_u8).map(|n| [V1, &[0, 3, 1, n, 0]].concat()).collect();
    let files: Vec<_> = names
        .iter()
        .copied()
        .zip(variants.iter().map(Vec::as_slice))
        .collect();
    let services: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
    Fixture::with_compiler(&files, set(&services, &[]), options).await;
    let together = std::fs::read_to_string(dir.path().join("together")).unwrap();
    let together: Vec<u32> = together.lines().map(|line| line.parse().unwrap()).collect();
    // Each of the five fails with a quarter of the memory, with half of it and with all of it.
    assert_eq!(together.len(), 15);
    assert!(together.iter().all(|others| *others <= 3), "{together:?}");
    let environment = std::fs::read_to_string(dir.path().join("environment")).unwrap();
    for line in environment.lines() {
        let (name, _) = line.split_once('=').unwrap();
        // Variables that the shell sets itself.
        assert!(
            [
                "MALLOC_ARENA_MAX",
                "MIMALLOC_ARENA_RESERVE",
                "PWD",
                "OLDPWD",
                "SHLVL",
                "_"
            ]
            .contains(&name),
            "{line}"
        );
    }
    let files = std::fs::read_dir(dir.path()).unwrap().flatten();
    let files = files.filter(|entry| entry.file_name().to_string_lossy().contains("arguments"));
    let mut arguments: Vec<_> = files
        .map(|entry| std::fs::read_to_string(entry.path()).unwrap())
        .collect();
    arguments.sort();
    arguments.dedup();
    // The first is the shell's name for itself.
    assert_eq!(
        arguments,
        [
            "1073741824 --most-memory 2147483648 --nice 10 --seconds 60\n",
            "2147483648 --most-memory 2147483648 --nice 10 --seconds 60\n",
            "536870912 --most-memory 2147483648 --nice 5 --seconds 60\n"
        ]
    );
}

#[tokio::test]
async fn long_compiling_shows_in_the_log_and_keeps_nobody_waiting() {
    let mut options = script("exec sleep 600");
    options.time = Duration::from_secs(7);
    let fixture = Fixture::with_compiler(&[], set(&[("s", "slow-to-compile")], &[]), options).await;
    fixture.put("slow-to-compile", V2);
    let status = fixture.wait("slow-to-compile", |status| {
        status
            .problem
            .as_ref()
            .is_some_and(|problem| problem.contains("takes longer"))
    });
    status.await;
    let log = log();
    assert!(
        log.lines()
            .any(|line| line.contains("slow-to-compile") && line.contains("compiling the plugin, 5 s so far")),
        "{log}"
    );
}

#[tokio::test]
async fn what_is_compiled_waits_for_no_compiler() {
    let set = set(&[("s", "p"), ("x", "busy-1"), ("y", "busy-2")], &[]);
    // Compiled in this process; then the compilers have enough to do.
    let mut fixture = Fixture::new(&[("p", V1)], set.clone()).await;
    fixture.put("p", V2);
    fixture
        .wait("p", |status| matches!(status.generation, Some((2, _))))
        .await;
    let dir = tempfile::tempdir().unwrap();
    fixture.compile = CompileOptions {
        time: Duration::from_secs(60),
        ..script(&format!("touch {}/$$; exec sleep 600", dir.path().display()))
    };
    let fixture = fixture.restart(set).await;
    for (n, name) in (0..).zip(["busy-1", "busy-2"]) {
        fixture.put(name, &[V1, &[0, 3, 1, n, 0]].concat());
    }
    while std::fs::read_dir(dir.path()).unwrap().count() < 2 {
        tokio::task::yield_now().await;
    }
    fixture.host.rollback("p").await.unwrap();
    assert_eq!(fixture.ask("s").await.unwrap()["version"], 1);
    for compiler in std::fs::read_dir(dir.path()).unwrap().flatten() {
        let pid = compiler.file_name().into_string().unwrap();
        assert!(is_running(&pid), "{pid} was waited for");
    }
}

/// The variant of V1 with this number, as nobody has compiled it.
fn variant(number: u8) -> Vec<u8> {
    [V1, &[0, 3, 1, number, 2]].concat()
}

/// Services that ask a plugin of the same name each.
fn services(names: &[&str]) -> PluginSet {
    let services: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
    set(&services, &[])
}

#[tokio::test]
async fn a5_a_quick_file_does_not_wait_until_slow_ones_are_compiled() {
    let slow = ["slow-1", "slow-2", "slow-3", "slow-4", "slow-5", "slow-6"];
    let dir = tempfile::tempdir().unwrap();
    let quick = variant(b'q');
    let elsewhere = Fixture::new(&[("quick", &quick)], services(&["quick"])).await;
    // It compiles the quick file immediately, and every other file for an hour.
    let text = format!(
        "touch {dir}/$$; cat > {dir}/file.$$; [ $(sha256sum < {dir}/file.$$ | cut -c1-64) = {digest} ] || \
         exec sleep 3600; exec tail -c +33 {cache}/{digest}-*.cwasm",
        dir = dir.path().display(),
        cache = elsewhere.dir.path().join("cache").display(),
        digest = elsewhere.status("quick").generation.unwrap().1,
    );
    let options = CompileOptions {
        time: Duration::from_secs(7200),
        ..script(&text)
    };
    let all = services(&[&slow[..], &["quick"]].concat());
    let fixture = Fixture::with_compiler(&[], all, options).await;
    for (number, name) in (0..).zip(slow) {
        fixture.put(name, &variant(number));
    }
    while std::fs::read_dir(dir.path()).unwrap().count() < 2 {
        tokio::task::yield_now().await;
    }
    fixture.put("quick", &quick);
    // It waits for 240 seconds, and not for the hour that each of the slow ones takes.
    fixture.wait("quick", |status| status.generation.is_some()).await;
    for name in slow {
        let status = fixture.status(name);
        let problem = status.problem.unwrap_or_default();
        assert!(
            status.generation.is_none() && !problem.contains("compil"),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn a5_a_compiler_that_takes_longer_gets_more_memory_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // It ends when it has half of all the memory that there is.
    let text = format!(
        "touch {dir}/run.$$; cat >/dev/null; ulimit -S -v $(($1 / 1024)); \
         until [ \"$(ulimit -S -v)\" = $(($3 / 2048)) ]; do sleep 0.1; done; exit 65",
        dir = dir.path().display()
    );
    let options = CompileOptions {
        time: Duration::from_secs(3600),
        ..script(&text)
    };
    let fixture = Fixture::with_compiler(&[], one(), options).await;
    fixture.put("p", &variant(b'm'));
    fixture
        .wait("p", |status| {
            let problem = status.problem.as_deref().unwrap_or_default();
            problem.contains("not a valid component")
        })
        .await;
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "it was not begun again"
    );
}

#[tokio::test]
async fn a5_a_compiler_without_enough_memory_begins_again_with_more() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "cat >/dev/null; echo $1 >> {}/memory; exit 71",
        dir.path().display()
    );
    let problem = problem(script(&text)).await;
    assert!(problem.contains("more than 2147483648 bytes"), "{problem}");
    let memory = std::fs::read_to_string(dir.path().join("memory")).unwrap();
    assert_eq!(memory, "536870912\n1073741824\n2147483648\n");
}

#[tokio::test]
async fn a_component_may_have_so_many_bytes() {
    let options = CompileOptions {
        size: V1.len() as u64 - 1,
        ..CompileOptions::default()
    };
    let problem = problem(options).await;
    assert!(problem.contains("is larger than"), "{problem}");
}
