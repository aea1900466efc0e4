//! The owners whose files are used. Only root can create a file that belongs to somebody else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use super::{Unsafe, database, directory, file, me};

const SOMEBODY: u32 = 65_533;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a18_what_others_may_write_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    for (bits, expected) in [
        (0o700, None),
        (0o755, None),
        (0o770, Some("chmod g-w")),
        (0o775, Some("chmod g-w")),
        (0o777, Some("chmod go-w")),
        (0o1777, Some("add files")),
        (0o702, Some("chmod go-w")),
    ] {
        mode(&data, bits);
        let found = directory(&data).err().map(|error| error.to_string());
        assert_eq!(found.is_some(), expected.is_some(), "{bits:o}: {found:?}");
        if let (Some(found), Some(expected)) = (found, expected) {
            assert!(found.contains(expected) && found.contains("data"), "{found}");
        }
    }
    mode(&data, 0o700);
    let secret = data.join("key.pem");
    assert_eq!(file(&secret), Ok(()), "it is not there");
    fs::write(&secret, "").unwrap();
    for (bits, safe) in [
        (0o600, true),
        (0o644, true),
        (0o440, true),
        (0o660, false),
        (0o666, false),
    ] {
        mode(&secret, bits);
        assert_eq!(file(&secret).is_ok(), safe, "{bits:o}");
    }
    let url = data.join("gateway.db");
    for beside in ["", "-wal", "-shm", "-journal", "-versions"] {
        let path = data.join(format!("gateway.db{beside}"));
        fs::write(&path, "").unwrap();
        mode(&path, 0o600);
        assert_eq!(database(&url), Ok(()), "{beside}");
        mode(&path, 0o666);
        assert!(matches!(database(&url), Err(Unsafe::Writable { .. })), "{beside}");
        mode(&path, 0o600);
    }
    mode(&data, 0o777);
    assert!(database(&url).is_err(), "the log could be planted");
}

#[test]
fn a18_a_directory_on_the_way_that_everybody_may_write_is_refused_unless_it_is_sticky() {
    let root = tempfile::tempdir().unwrap();
    let open = root.path().join("open");
    let data = open.join("data");
    fs::create_dir_all(&data).unwrap();
    mode(&data, 0o700);
    mode(&open, 0o777);
    assert!(matches!(directory(&data), Err(Unsafe::Writable { path, .. }) if path == open));
    // By a link into it as well.
    let link = root.path().join("link");
    symlink("open/./data/../data", &link).unwrap();
    assert!(matches!(directory(&link), Err(Unsafe::Writable { path, .. }) if path == open));
    mode(&open, 0o1777);
    assert_eq!(directory(&data), Ok(()));
    assert_eq!(directory(&link), Ok(()));
    // The group of a directory above is the operator's affair: volumes are mounted so.
    mode(&open, 0o2775);
    assert_eq!(directory(&data), Ok(()));
    symlink("round", root.path().join("round")).unwrap();
    assert_eq!(
        directory(&root.path().join("round")),
        Ok(()),
        "whoever opens it finds out"
    );
}

#[test]
fn a18_what_belongs_to_somebody_else_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    if chown(&data, Some(SOMEBODY), None).is_err() {
        eprintln!("skipped: giving files away takes root");
        return;
    }
    let refused = directory(&data).unwrap_err();
    assert!(matches!(&refused, Unsafe::Owner { path, owner: SOMEBODY, .. } if *path == data));
    let text = refused.to_string();
    assert!(
        text.contains("setpriv --reuid=65533") && text.contains("chown -R root"),
        "{text}"
    );
    chown(&data, Some(me()), None).unwrap();
    // A database that was planted, and each file that SQLite would take for its own.
    for beside in ["", "-wal", "-shm", "-journal", "-versions"] {
        let path = data.join(format!("gateway.db{beside}"));
        fs::write(&path, "").unwrap();
        mode(&path, 0o600);
        chown(&path, Some(SOMEBODY), None).unwrap();
        let refused = database(&data.join("gateway.db"));
        assert!(
            matches!(refused, Err(Unsafe::Owner { .. })),
            "{beside}: {refused:?}"
        );
        fs::remove_file(&path).unwrap();
    }
    // A link that somebody else can point elsewhere.
    let link = root.path().join("link");
    symlink("data", &link).unwrap();
    assert_eq!(directory(&link), Ok(()));
    std::os::unix::fs::lchown(&link, Some(SOMEBODY), None).unwrap();
    assert!(matches!(directory(&link), Err(Unsafe::Owner { path, .. }) if path == link));
    // An entry that somebody else has put into a sticky directory.
    let sticky = root.path().join("sticky");
    fs::create_dir_all(sticky.join("theirs/data")).unwrap();
    chown(sticky.join("theirs"), Some(SOMEBODY), None).unwrap();
    mode(&sticky, 0o1777);
    assert!(matches!(
        directory(&sticky.join("theirs/data")),
        Err(Unsafe::Owner { .. })
    ));
}
