use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{iter, thread};

use super::{MAX_FILE, PluginFile, path};
use crate::error::AdmissionError;

fn read(path: &Path) -> Result<PluginFile, AdmissionError> {
    crate::directory::read_at(path, MAX_FILE)
}

#[test]
fn only_regular_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("good"), b"bytes").unwrap();
    symlink("good", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("/etc/hostname", at("outside")).unwrap();
    symlink("itself", at("itself")).unwrap();
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("empty"), b"").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::File::create(at("huge"))
        .unwrap()
        .set_len(super::MAX_FILE + 1)
        .unwrap();

    let file = read(&at("good")).unwrap();
    assert_eq!(&*file.bytes, b"bytes");
    assert_eq!(file.digest.len(), 64);
    assert!(matches!(
        read(&at("missing")),
        Err(AdmissionError::Missing { .. })
    ));
    assert_eq!(&*read(&at("link")).unwrap().bytes, b"bytes");
    assert!(matches!(
        read(&at("dangling")),
        Err(AdmissionError::Dangling { .. })
    ));
    for leaves in ["outside", "itself"] {
        assert!(matches!(read(&at(leaves)), Err(AdmissionError::Symlink { .. })));
    }
    assert!(matches!(read(&at("dir")), Err(AdmissionError::NotAFile { .. })));
    assert!(matches!(read(&at("pipe")), Err(AdmissionError::NotAFile { .. })));
    assert!(matches!(read(&at("empty")), Err(AdmissionError::Empty { .. })));
    assert!(matches!(read(&at("huge")), Err(AdmissionError::TooLarge { .. })));
}

/// Returns the result of `look` while another thread repeats `work`.
fn beside<T>(work: impl FnMut() + Send, look: impl FnOnce() -> T) -> T {
    let (stop, mut work) = (AtomicBool::new(false), work);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                work();
            }
        });
        let seen = look();
        stop.store(true, Ordering::Relaxed);
        seen
    })
}

#[test]
fn a_file_that_grows_while_it_is_read_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("p");
    fs::write(&at, vec![0; 4 << 20]).unwrap();
    let mut writer = OpenOptions::new().append(true).open(&at).unwrap();
    let refused = beside(
        || writer.write_all(b"x").unwrap(),
        || (0..1000).any(|_| matches!(read(&at), Err(AdmissionError::Changing { .. }))),
    );
    assert!(refused);
}

#[test]
fn a_digest_is_of_the_bytes_that_were_read() {
    let dir = tempfile::tempdir().unwrap();
    let (at, new) = (dir.path().join("p"), dir.path().join("new"));
    fs::write(&at, b"first").unwrap();
    let swaps = AtomicUsize::new(0);
    let swap = || {
        for bytes in ["second", "first"] {
            fs::write(&new, bytes).unwrap();
            fs::rename(&new, &at).unwrap();
        }
        swaps.fetch_add(1, Ordering::Relaxed);
    };
    let (read, mixed) = beside(swap, || {
        let files = iter::repeat_with(|| read(&at))
            .take_while(|_| swaps.load(Ordering::Relaxed) < 5000)
            .filter_map(Result::ok);
        files.fold((0, 0), |(read, mixed), file| {
            let is_mixed = file.digest != PluginFile::of(file.bytes).digest;
            (read + 1, mixed + usize::from(is_mixed))
        })
    });
    assert!(read > 0);
    assert_eq!(mixed, 0, "of {read}");
}

#[test]
fn names_stay_in_the_directory() {
    let dir = std::path::Path::new("/plugins");
    assert_eq!(path(dir, "role-s_1.2").unwrap(), dir.join("role-s_1.2.wasm"));
    for name in [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "../a",
        "a\0",
        "a b",
        "ä",
        &"x".repeat(129),
    ] {
        assert!(path(dir, name).is_err(), "{name:?}");
    }
}
