use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use super::{ReadError, Stream, is_pipe, read, read_stream, read_text};

pub(crate) fn pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

#[test]
fn only_regular_files_within_the_bound_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("good"), "text").unwrap();
    assert_eq!(read_text(&at("good"), 4).unwrap().0, "text");
    assert!(matches!(read(&at("good"), 3), Err(ReadError::TooLarge(3))));
    fs::write(at("bytes"), [0xff]).unwrap();
    assert!(matches!(read_text(&at("bytes"), 10), Err(ReadError::NotText)));
    // Its size is 0 in the metadata, but not when it is read.
    assert!(matches!(
        read(Path::new("/proc/self/status"), 10),
        Err(ReadError::TooLarge(10))
    ));

    pipe(&at("pipe"));
    let _socket = UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
    for (path, what) in [
        (at("pipe"), "a pipe"),
        (at("link"), "a pipe"),
        (at("socket"), "a socket"),
        (dir.path().to_owned(), "a directory"),
        ("/dev/zero".into(), "a device"),
        ("/dev/null".into(), "a device"),
    ] {
        let error = read(&path, 10).unwrap_err();
        assert!(
            matches!(error, ReadError::NotAFile(is) if is == what),
            "{path:?}: {error}"
        );
    }
}

#[test]
fn a_pipe_is_read_to_its_end_or_times_out() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("pipe");
    pipe(&at);
    assert!(is_pipe(&at) && !is_pipe(dir.path()));
    // Nobody writes.
    let waited = read_stream(Stream::Pipe(at.clone()), 10, Duration::from_millis(1));
    assert!(matches!(waited, Err(ReadError::Endless(_))), "{waited:?}");

    let other = dir.path().join("other");
    pipe(&other);
    let writer = other.clone();
    let writes = std::thread::spawn(move || fs::write(writer, "secret"));
    let patience = Duration::from_secs(600);
    assert_eq!(read_stream(Stream::Pipe(other), 10, patience).unwrap(), "secret");
    writes.join().unwrap().unwrap();
}
