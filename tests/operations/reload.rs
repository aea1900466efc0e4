//! Reading the configuration again, by SIGHUP and by `gateway reload`.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use test_guests::COMPILE_BOMB;

use super::support::{Setup, eventually};

fn pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_does_not_wait_for_a_pipe_or_a_device() {
    let setup = super::dev();
    let gateway = setup.start().await;
    let at = setup.dir.path().join("pipe");
    pipe(&at);
    for (path, what) in [
        (at.as_path(), "a pipe"),
        (Path::new("/dev/zero"), "a device"),
        (setup.dir.path(), "a directory"),
    ] {
        let secret = format!("grants = [\"secrets\"]\nsecrets = {{ x = {{ file = {path:?} }} }}");
        setup.clone().plugin_table("behave", &secret).write();
        let line = gateway.reload().await;
        assert!(
            line.contains(&path.display().to_string())
                && line.contains(what)
                && line.contains("plugin.behave.secrets.x"),
            "{line}"
        );
    }
    // Nor does the configuration itself, or a token's file.
    for command in [
        vec!["config", "check", "--config", at.to_str().unwrap()],
        vec![
            "plugin",
            "list",
            "--admin",
            "127.0.0.1:9",
            "--token-file",
            at.to_str().unwrap(),
        ],
    ] {
        let mut ran = super::support::cli::command();
        ran.current_dir(setup.dir.path()).args(&command);
        let said = super::support::cli::finish(ran).await.failed();
        assert!(
            said.contains("it is a pipe, not a regular file"),
            "{command:?}: {said}"
        );
    }
    setup.write();
    assert!(gateway.reload().await.contains("is in force"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_a_gateway_that_reads_its_configuration_again() {
    let setup = super::dev().table("plugins", "compile_time = \"1h\"\ncompile_memory = \"1GiB\"");
    let mut gateway = setup.start().await;
    // It would compile this for as long as it may.
    fs::write(setup.dir.plugin_file("bomb"), COMPILE_BOMB).unwrap();
    setup.clone().service("bomb", "bomb").write();
    gateway.signal(Signal::HUP);
    let children = format!("/proc/{0}/task/{0}/children", gateway.pid());
    let compiles = async || {
        let children = fs::read_to_string(&children).ok()?;
        (!children.trim().is_empty()).then_some(())
    };
    // A thread of the gateway's own starts compilers, and it is that thread's child.
    let tasks = format!("/proc/{}/task", gateway.pid());
    eventually("it compiles", async || {
        if compiles().await.is_some() {
            return Some(());
        }
        let mut tasks = fs::read_dir(&tasks).ok()?.flatten();
        let has_child = |task: fs::DirEntry| {
            let children = fs::read_to_string(task.path().join("children"));
            children.is_ok_and(|children| !children.trim().is_empty())
        };
        tasks.any(has_child).then_some(())
    })
    .await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().await.code(), Some(0), "{}", gateway.log.text());
}
