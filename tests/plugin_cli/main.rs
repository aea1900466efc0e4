//! `gateway plugin check|call|bench` as an author uses them: their output, exit codes, and one clear message for each
//! mistake.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]
mod calls;
mod files;
mod grants;
mod project;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::cli::{self, Ran};
use tempfile::TempDir;

/// An author's directory, in which the commands run.
struct Desk(TempDir);

const ANN: &str = r#"{"id": "ann", "name": "Ann", "email": "ann@example.org", "email_trusted": true,
    "identities": [{"provider": "google", "issuer": "https://accounts.google.com", "subject": "1"},
                   {"provider": "github", "issuer": "https://github.com", "subject": "2"}]}"#;

impl Desk {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            fs::write(desk.path().join(name), bytes).unwrap();
        }
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `gateway plugin` with these arguments, separated by spaces, and a deadline for debug builds.
    async fn plugin(&self, words: &str) -> Ran {
        let mut command = cli::command();
        command
            .current_dir(self.path())
            .env("HOME", self.path())
            .arg("plugin")
            .args(words.split_whitespace())
            .args(["--deadline", "2m"]);
        cli::finish(command).await
    }

    /// The JSON that a successful command prints.
    async fn json(&self, words: &str) -> Value {
        let printed = self.plugin(words).await.succeeded();
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    /// The message of a command that fails properly, with nothing on stdout.
    async fn fails(&self, words: &str) -> String {
        let ran = self.plugin(words).await;
        assert_eq!(ran.stdout, "", "{words}");
        let said = ran.failed();
        assert!(
            said.contains("gateway: ") && !said.contains("panicked at gateway"),
            "{words}: {said}"
        );
        said
    }
}
