//! What tests of faults need of the machine, and saying so where it does not allow it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::fake_oidc::now;

/// Says that a test did not run, and why. Not by `println!`: what a test that passes has printed is not shown.
pub(crate) fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "skipped: {test}: {why}").expect("stderr");
}

/// Runs a command of the system to its end.
///
/// # Errors
/// What it said, where it failed, or why it did not start.
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
    /// Mounts an image of a file system at `at`, a directory that is made, by a loop device.
    ///
    /// # Errors
    /// Why the machine does not allow it.
    pub(crate) fn image(image: &Path, at: PathBuf) -> Result<Self, String> {
        // Nothing is written but what is synced: the journal's own commits are five minutes apart.
        Self::at(&[&"-o", &"loop,commit=300", &image], at)
    }

    /// Mounts a file system in memory that has so many bytes.
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

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a gateway that a failed test leaves behind may still have files open there.
        if let Err(error) = run("umount", &[&"--lazy", &self.0]) {
            writeln!(std::io::stderr(), "{error}").expect("stderr");
        }
    }
}

/// SQLite's own check, by another reader than the gateway.
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

/// Numbers that differ from run to run; those of a run come again where `DICE` is what it has printed.
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
