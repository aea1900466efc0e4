//! The lines that a gateway process wrote to stderr.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;

use super::wait::PATIENCE;

/// All lines so far. It grows while the process runs.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    changed: watch::Receiver<bool>,
}

impl Log {
    /// Reads `from` to its end in the background.
    pub fn capture(from: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (ended, changed) = watch::channel(false);
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while reader
                .read_until(b'\n', &mut line)
                .await
                .is_ok_and(|read| read > 0)
            {
                // The process was killed while it wrote a line without an end.
                if line.pop_if(|last| *last == b'\n').is_some() {
                    kept.lock()
                        .unwrap()
                        .push(String::from_utf8_lossy(&line).into_owned());
                }
                line.clear();
                ended.send_replace(false);
            }
            ended.send_replace(true);
        });
        Self { lines, changed }
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// All lines in one text.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// The lines so far that are JSON.
    pub fn entries(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits for a line that `wanted` accepts, earlier lines included, and returns it.
    ///
    /// # Panics
    /// If no such line comes in time, or the process ends without one.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut changed = self.changed.clone();
        let search = async {
            let mut seen = 0;
            loop {
                let ended = *changed.borrow_and_update();
                {
                    let lines = self.lines.lock().unwrap();
                    if let Some(line) = lines[seen..].iter().find(|line| wanted(line)) {
                        return line.clone();
                    }
                    seen = lines.len();
                }
                assert!(!ended, "the log ended without {what}:\n{}", self.text());
                if changed.changed().await.is_err() {
                    assert!(
                        self.lines().iter().any(|line| wanted(line)),
                        "the log ended without {what}:\n{}",
                        self.text()
                    );
                }
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(line) => line,
            Err(_) => panic!("the log never had {what}:\n{}", self.text()),
        }
    }

    /// Waits until the process has closed its stderr, so that the log is complete.
    pub async fn wait_for_end(&self) {
        let mut changed = self.changed.clone();
        // An error means that the reader is gone, and so that it has read everything.
        let _ = tokio::time::timeout(PATIENCE, changed.wait_for(|ended| *ended))
            .await
            .expect("stderr stays open");
    }

    /// Asserts that the process has not panicked. Panic messages of guests do not count.
    pub fn assert_no_panic(&self) {
        for line in self.lines().iter().filter(|line| {
            !line.contains("gateway_plugin::guest") && !line.contains("; it wrote to stderr: ")
        }) {
            assert!(!line.contains("panicked at"), "the gateway panicked: {line}");
        }
    }
}
