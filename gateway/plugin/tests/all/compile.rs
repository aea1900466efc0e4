//! Compiling in a process of its own: what it may take, and what becomes of it.

use std::ffi::OsString;
use std::time::Duration;

use gateway_plugin::{CompileOptions, PluginSet};
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
async fn it_gets_limits_no_environment_and_not_more_than_two_run() {
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
    assert_eq!(together.len(), 5);
    assert!(together.iter().all(|others| *others <= 1), "{together:?}");
    let environment = std::fs::read_to_string(dir.path().join("environment")).unwrap();
    for line in environment.lines() {
        let (name, _) = line.split_once('=').unwrap();
        // What the shell sets itself.
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
    let arguments = std::fs::read_dir(dir.path()).unwrap().flatten();
    let arguments = arguments
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("arguments"))
        .unwrap();
    let arguments = std::fs::read_to_string(arguments).unwrap();
    // The first is the shell's name for itself.
    assert_eq!(arguments.trim(), "2147483648 --seconds 60");
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

#[tokio::test]
async fn a_component_may_have_so_many_bytes() {
    let options = CompileOptions {
        size: V1.len() as u64 - 1,
        ..CompileOptions::default()
    };
    let problem = problem(options).await;
    assert!(problem.contains("is larger than"), "{problem}");
}
