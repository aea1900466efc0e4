use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use gateway_model::SystemRandom;
use wasmtime::component::Component;

use super::{Cache, Durable};
use crate::code::Code;

fn open(dir: &std::path::Path, engine: &wasmtime::Engine) -> Cache {
    Cache::open(dir, engine, &SystemRandom).unwrap()
}

fn compiled(engine: &wasmtime::Engine, text: &str) -> Code {
    let component = wat::parse_str(text).unwrap();
    Code::of(&Component::new(engine, component).unwrap())
}

#[test]
fn what_was_compiled_is_found_again_and_nothing_else() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), &engine);
    assert!(cache.load(&engine, "aa").is_none());
    cache.store("aa", &compiled(&engine, "(component)"));

    let cache = open(dir.path(), &engine);
    assert!(cache.load(&engine, "aa").is_some(), "with the key read back");
    assert!(cache.load(&engine, "bb").is_none());

    let (from, to) = (cache.compiled_name("aa"), cache.compiled_name("bb"));
    fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
    assert!(cache.load(&engine, "bb").is_none(), "in another's place");
}

#[test]
fn a_flipped_bit_anywhere_is_no_entry() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), &engine);
    cache.store("aa", &compiled(&engine, "(component (core module (func)))"));
    let path = dir.path().join(cache.compiled_name("aa"));
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(cache.load(&engine, "aa").is_none(), "byte {at}");
    }
    for cut in [0, 1, 31, 32, 33, good.len() - 1] {
        fs::write(&path, &good[..cut]).unwrap();
        assert!(cache.load(&engine, "aa").is_none(), "cut at {cut}");
    }
    fs::write(&path, good).unwrap();
    assert!(cache.load(&engine, "aa").is_some());
}

#[test]
fn what_was_being_written_when_the_gateway_was_killed_is_removed() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in [".new-old", ".new-now", "old.cwasm"] {
        fs::write(at(name), b"half").unwrap();
    }
    for name in [".new-old", "old.cwasm"] {
        let file = fs::File::options().write(true).open(at(name)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    open(dir.path(), &engine);
    let there = [".new-old", ".new-now", "old.cwasm"].map(|name| at(name).exists());
    assert_eq!(there, [false, true, true]);
}

/// Why the directory is not used: by a host, by a check, and by one that only reads.
fn refused(dir: &Path, engine: &wasmtime::Engine) -> String {
    let open = Cache::open(dir, engine, &SystemRandom).unwrap_err().to_string();
    let read = Cache::open_to_read(dir, engine, &SystemRandom).unwrap_err();
    assert_eq!(read.to_string(), open);
    assert_eq!(Cache::check(dir).unwrap_err().to_string(), open);
    open
}

#[test]
fn o5_what_others_may_have_made_is_refused_by_a_check_too() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let pipe = |path: &Path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    };
    symlink("nowhere", at("link")).unwrap();
    pipe(&at("pipe"));
    fs::write(at("file"), "").unwrap();
    fs::create_dir(at("shared")).unwrap();
    for (name, why) in [
        ("link", "leads nowhere"),
        ("pipe", "not a directory"),
        ("file", "not a directory"),
    ] {
        let error = refused(&at(name), &engine);
        assert!(error.contains(why), "{name}: {error}");
    }
    for mode in [0o777, 0o770, 0o702] {
        fs::set_permissions(at("shared"), fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(&at("shared"), &engine);
        assert!(error.contains("others can write to it"), "{error}");
    }

    // Somebody's directory, such as `/tmp`, is not made private.
    fs::create_dir(at("used")).unwrap();
    fs::create_dir(at("used/other")).unwrap();
    for mode in [0o755, 0o1777, 0o700] {
        fs::set_permissions(at("used"), fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(&at("used"), &engine);
        assert!(error.contains("it is not a plugin cache"), "{error}");
        assert_eq!(
            fs::metadata(at("used")).unwrap().permissions().mode() & 0o7777,
            mode
        );
    }

    let cache = at("cache");
    assert!(Cache::check(&cache).is_ok());
    Cache::open_to_read(&cache, &engine, &SystemRandom).unwrap();
    assert!(!cache.exists(), "neither makes it");
    open(&cache, &engine);
    assert!(Cache::check(&cache).is_ok());
    let key = cache.join("key");
    let good = fs::read(&key).unwrap();
    fs::write(&key, &good[1..]).unwrap();
    assert!(refused(&cache, &engine).contains("not complete"));
    fs::remove_file(&key).unwrap();
    symlink("nowhere", &key).unwrap();
    assert!(refused(&cache, &engine).contains("it is a link"));
    fs::remove_file(&key).unwrap();
    pipe(&key);
    assert!(refused(&cache, &engine).contains("not a regular file"));
    fs::remove_file(&key).unwrap();
    if rustix::process::geteuid().is_root() {
        for name in ["key", "entry.cwasm"] {
            fs::write(cache.join(name), &good).unwrap();
            fs::set_permissions(cache.join(name), fs::Permissions::from_mode(0o600)).unwrap();
            chown(cache.join(name), Some(65_534), None).unwrap();
            let error = refused(&cache, &engine);
            assert!(
                error.contains(name) && error.contains("belongs to another user"),
                "{error}"
            );
            fs::remove_file(cache.join(name)).unwrap();
        }
    }
    open(&cache, &engine);
}

#[test]
fn o5_a_check_reads_what_is_kept_and_writes_nothing() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), &engine).store("aa", &compiled(&engine, "(component)"));
    let seen = || {
        let entries = fs::read_dir(dir.path()).unwrap().flatten();
        let mut seen: Vec<_> = entries
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap()))
            .collect();
        seen.sort();
        seen
    };
    let before = seen();
    let cache = Cache::open_to_read(dir.path(), &engine, &SystemRandom).unwrap();
    assert!(cache.load(&engine, "aa").is_some());
    cache.store("bb", &compiled(&engine, "(component)"));
    cache.write("entry", b"bytes", Durable::Yes).unwrap();
    cache.remove(&cache.compiled_name("aa"));
    cache.shrink(0);
    assert_eq!(seen(), before);
}

#[test]
fn it_is_private() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    open(dir.path(), &engine);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.path().to_owned()), 0o700);
    assert_eq!(mode(dir.path().join("key")), 0o600);

    fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Cache::open(dir.path(), &engine, &SystemRandom).is_err());
}

#[test]
fn anothers_directory_is_not_used() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    // Only root can change a directory's owner. Other users try a directory that belongs to root.
    let theirs = if rustix::process::geteuid().is_root() {
        chown(dir.path(), Some(65_534), None).unwrap();
        dir.path()
    } else {
        Path::new("/")
    };
    let error = Cache::open(theirs, &engine, &SystemRandom).unwrap_err();
    assert!(
        error.to_string().contains("it belongs to another user"),
        "{error}"
    );
}

#[test]
fn a_link_is_no_entry() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), &engine);
    cache.write("entry", b"bytes", Durable::No).unwrap();
    assert!(cache.read("entry").is_some());
    for name in ["entry", "key"] {
        let (at, elsewhere) = (dir.path().join(name), dir.path().join("elsewhere"));
        fs::rename(&at, &elsewhere).unwrap();
        symlink(&elsewhere, &at).unwrap();
        assert!(cache.read("entry").is_none() || name == "key");
        assert!(Cache::open(dir.path(), &engine, &SystemRandom).is_err() || name == "entry");
        fs::rename(&elsewhere, &at).unwrap();
    }
    assert!(cache.read("entry").is_some());
}

#[test]
fn it_stays_within_its_size() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), &engine);
    let component = compiled(&engine, "(component)");
    for digest in ["aa", "bb", "cc"] {
        cache.store(digest, &component);
    }
    cache.write("plugin.other", b"bytes", Durable::No).unwrap();
    let size = fs::metadata(dir.path().join(cache.compiled_name("cc")))
        .unwrap()
        .len();
    cache.shrink(size);
    let left = ["aa", "bb", "cc"].map(|digest| cache.load(&engine, digest).is_some());
    assert_eq!(left, [false, false, true]);
    assert_eq!(cache.read("plugin.other").as_deref(), Some(&b"bytes"[..]));
}

#[test]
fn a17_what_serves_is_not_removed_to_make_room() {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), &engine);
    let component = compiled(&engine, "(component)");
    for digest in ["aa", "bb", "cc"] {
        cache.store(digest, &component);
    }
    cache.need(["aa".into()].into());
    cache.shrink(0);
    let left = ["aa", "bb", "cc"].map(|digest| cache.load(&engine, digest).is_some());
    assert_eq!(left, [true, false, false]);
}
