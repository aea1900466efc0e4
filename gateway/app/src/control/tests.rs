use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Control, NoAnswer, Reloaded, Status, running};

fn sockets(data_dir: &Path) -> Vec<std::path::PathBuf> {
    super::sockets(data_dir).unwrap()
}

async fn reload(data_dir: &Path) -> Vec<Reloaded> {
    let (answers, silent) = super::reload(data_dir, false).await.unwrap();
    assert!(silent.is_empty(), "{silent:?}");
    answers
}

/// A gateway that answers `answer`.
async fn serve(data_dir: &Path, pid: u32, shutdown: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let control = Control::bind(data_dir).await.unwrap();
    let (reloads, mut asked) = mpsc::channel::<super::Asked>(1);
    tokio::spawn(async move {
        while let Some(asked) = asked.recv().await {
            let errors = vec![format!("mistake of {pid}")];
            let answer = Reloaded {
                pid,
                errors,
                ..Reloaded::default()
            };
            let _ = asked.answer.send(answer);
        }
    });
    let status = Status {
        pid,
        listens: vec![([127, 0, 0, 1], 80).into()],
    };
    tokio::spawn(control.run(status, reloads, shutdown.clone()))
}

#[tokio::test]
async fn o8_every_running_gateway_of_a_data_directory_answers() {
    let dir = tempfile::tempdir().unwrap();
    // Longer than the path of a socket can be.
    let data_dir = dir.path().join("x".repeat(120));
    std::fs::create_dir(&data_dir).unwrap();
    assert_eq!(running(&data_dir).await, []);
    assert_eq!(reload(&data_dir).await, []);

    let shutdown = CancellationToken::new();
    let gateways = [
        serve(&data_dir, 1, &shutdown).await,
        serve(&data_dir, 2, &shutdown).await,
    ];
    let mut pids: Vec<_> = running(&data_dir).await.iter().map(|status| status.pid).collect();
    pids.sort_unstable();
    assert_eq!(pids, [1, 2]);
    let mut answers = reload(&data_dir).await;
    answers.sort_by_key(|answer| answer.pid);
    assert_eq!(answers[1].errors, ["mistake of 2"]);

    shutdown.cancel();
    for gateway in gateways {
        gateway.await.unwrap();
    }
    assert!(sockets(&data_dir).is_empty(), "they are removed");

    // Of one that was killed there is one left, until the next one starts.
    let killed = Control::bind(&data_dir).await.unwrap();
    let path = killed.path.clone();
    let left_over = data_dir.join("kept");
    std::fs::hard_link(&path, &left_over).unwrap();
    drop(killed);
    std::fs::rename(left_over, &path).unwrap();
    assert_eq!(sockets(&data_dir).len(), 1);
    assert_eq!(running(&data_dir).await, []);
    assert_eq!(reload(&data_dir).await, []);
    let next = Control::bind(&data_dir).await.unwrap();
    assert_eq!(sockets(&data_dir), std::slice::from_ref(&next.path));
}

#[tokio::test]
async fn o8_a_silent_gateway_is_named_and_the_others_reload() {
    let dir = tempfile::tempdir().unwrap();
    // It takes connections, as one that was stopped does, and never says a word.
    let path = dir.path().join("gateway-mute.sock");
    let mute = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let silence = Duration::from_millis(10);
    let error = super::ask::<Reloaded>(&path, "reload", silence).await;
    let error = error.unwrap().unwrap_err();
    assert!(matches!(error, NoAnswer::Silent { .. }), "{error}");
    assert!(error.to_string().contains("is the process stopped"), "{error}");

    // One that hangs up keeps nobody else from reloading.
    let shutdown = CancellationToken::new();
    let gateway = serve(dir.path(), 1, &shutdown).await;
    let hangs_up = std::thread::spawn(move || {
        for _ in 0..3 {
            drop(mute.accept().unwrap());
        }
    });
    let (answers, silent) = super::reload(dir.path(), false).await.unwrap();
    assert_eq!((answers.len(), silent.len()), (1, 1), "{silent:?}");
    shutdown.cancel();
    gateway.await.unwrap();
    hangs_up.join().unwrap();
}

#[tokio::test]
async fn o8_a_slow_gateway_shows_that_it_is_alive() {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let mut control = Control::bind(dir.path()).await.unwrap();
    control.alive = Duration::from_millis(1);
    let path = control.path.clone();
    let (reloads, mut asked) = mpsc::channel::<super::Asked>(1);
    let gateway = tokio::spawn(control.run(Status::default(), reloads, shutdown.clone()));
    let (from, mut to) = super::connect(&path).await.unwrap().into_split();
    to.write_all(b"reload wait\n").await.unwrap();
    let asked = asked.recv().await.unwrap();
    assert!(asked.waits_for_plugins);
    let mut from = BufReader::new(from);
    let mut line = String::new();
    from.read_line(&mut line).await.unwrap();
    assert_eq!(line, "\n");
    asked.answer.send(Reloaded::default()).unwrap();
    while line == "\n" {
        line.clear();
        from.read_line(&mut line).await.unwrap();
    }
    assert_eq!(
        serde_json::from_str::<Reloaded>(&line).unwrap(),
        Reloaded::default()
    );
    shutdown.cancel();
    gateway.await.unwrap();

    // And a command is patient with it.
    let path = dir.path().join("gateway-slow.sock");
    let slow = tokio::net::UnixListener::bind(&path).unwrap();
    let answers = tokio::spawn(async move {
        let (mut stream, _) = slow.accept().await.unwrap();
        stream.write_all(b"\n\n").await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
    });
    let answer = super::ask::<Reloaded>(&path, "reload", super::SILENCE).await;
    assert_eq!(answer.unwrap().unwrap(), Reloaded::default());
    answers.await.unwrap();
}

#[tokio::test]
async fn o8_an_unreadable_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = super::reload(&file, false).await.unwrap_err().to_string();
    assert!(error.contains("as the user that the gateway runs as"), "{error}");
}
