//! The parts of the machine that fault tests need, and a message if the machine does not allow them.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::fake_oidc::now;

/// Reports that a test did not run, and why. Not with `println!`, as the output of a passing test is hidden.
pub(crate) fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "skipped: {test}: {why}").expect("stderr");
}

/// Runs a command of the system to its end.
///
/// # Errors
/// The command's output if it failed, or why it did not start.
pub(crate) fn run(program: &str, arguments: &[&dyn AsRef<OsStr>]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|argument| argument.as_ref()));
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program}: {}: {said}", output.status))
}

/// A mounted file system, unmounted when dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts an image of a file system with a loop device at `at`, a directory that it makes.
    ///
    /// # Errors
    /// Why the machine does not allow it.
    pub(crate) fn image(image: &Path, at: PathBuf) -> Result<Self, String> {
        // Only synced data is written: the journal commits every five minutes.
        Self::at(&[&"-o", &"loop,commit=300", &image], at)
    }

    /// Mounts an in-memory file system of `bytes` bytes.
    ///
    /// # Errors
    /// Why the machine does not allow it.
    pub(crate) fn in_memory(bytes: u64, at: PathBuf) -> Result<Self, String> {
        Self::at(
            &[
                &"-t",
                &"tmpfs",
                &"-o",
                &format!("size={bytes},mode=700"),
                &"tmpfs",
            ],
            at,
        )
    }

    fn at(what: &[&dyn AsRef<OsStr>], at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&at).expect("a directory");
        run("mount", &[what, &[&at]].concat())?;
        Ok(Self(at))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: after a failed test, a gateway may still have files open there.
        if let Err(error) = run("umount", &[&"--lazy", &self.0]) {
            writeln!(std::io::stderr(), "{error}").expect("stderr");
        }
    }
}

/// Runs SQLite's own check, in a separate connection.
pub(crate) fn assert_sound(database: &Path) {
    let connection = rusqlite::Connection::open(database).expect("the database opens");
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("it can be checked");
    assert_eq!(verdict, "ok");
    let mut violations = connection.prepare("PRAGMA foreign_key_check").expect("SQL");
    assert!(
        !violations.exists([]).expect("it can be checked"),
        "a row refers to one that is not there"
    );
}

/// Random numbers. `DICE`, set to a number that an earlier run printed, repeats that run.
pub(crate) struct Dice(u64);

impl Dice {
    #[expect(
        clippy::disallowed_methods,
        reason = "which dice to throw again is for whoever runs the test to say"
    )]
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("DICE") {
            Ok(seed) => seed.parse().expect("DICE is a number that was printed"),
            Err(_) => u64::from(std::process::id()) ^ (now() << 20),
        } | 1;
        println!("dice begin at DICE={seed}");
        Self(seed)
    }

    /// xorshift64.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
