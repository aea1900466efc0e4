use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::io::Errno;

use super::{PluginDirectory, Presence, Reason};
use crate::error::AdmissionError;

fn unknown(directory: &PluginDirectory) -> Reason {
    match directory.look("p") {
        Presence::Unknown(reason) => reason,
        said => panic!("{said:?}"),
    }
}

fn is_here(directory: &PluginDirectory, plugin: &str) -> bool {
    matches!(directory.look(plugin), Presence::Here(_))
}

#[test]
fn u3_only_a_directory_that_can_be_read_says_that_a_file_was_removed() {
    let root = tempfile::tempdir().unwrap();
    let (at, aside) = (root.path().join("plugins"), root.path().join("aside"));
    fs::create_dir(&at).unwrap();
    let directory = PluginDirectory::new(at.clone());
    assert_eq!(directory.look("p"), Presence::Absent, "before anything was seen");
    fs::write(at.join("p.wasm"), b"p").unwrap();
    assert!(is_here(&directory, "p"));
    assert!(directory.check().is_ok());

    fs::rename(&at, &aside).unwrap();
    assert_eq!(unknown(&directory), Reason::Directory(Errno::NOENT));
    assert_eq!(directory.check(), Err(Reason::Directory(Errno::NOENT)));
    fs::write(&at, b"a file").unwrap();
    assert_eq!(unknown(&directory), Reason::Directory(Errno::NOTDIR));
    fs::remove_file(&at).unwrap();
    symlink(&at, &at).unwrap();
    assert_eq!(unknown(&directory), Reason::Directory(Errno::LOOP));
    fs::remove_file(&at).unwrap();

    fs::rename(&aside, &at).unwrap();
    assert!(is_here(&directory, "p"));
    fs::remove_file(at.join("p.wasm")).unwrap();
    assert_eq!(directory.look("p"), Presence::Absent, "in the directory itself");
    assert!(directory.check().is_ok(), "an operator may remove all of them");
}

#[test]
fn u3_another_directory_says_nothing_about_files_that_were_never_in_it() {
    let root = tempfile::tempdir().unwrap();
    let (at, aside) = (root.path().join("plugins"), root.path().join("aside"));
    fs::create_dir(&at).unwrap();
    fs::write(at.join("p.wasm"), b"p").unwrap();
    let directory = PluginDirectory::new(at.clone());
    assert!(is_here(&directory, "p"));
    fs::rename(&at, &aside).unwrap();
    fs::create_dir(&at).unwrap();
    assert_eq!(unknown(&directory), Reason::Replaced);
    fs::write(at.join("lost+found"), b"").unwrap();
    assert_eq!(unknown(&directory), Reason::Replaced);
    assert_eq!(directory.check(), Err(Reason::Replaced));
    // Another plugin in it, one that was seen before or not, changes nothing for this one.
    fs::write(at.join("q.wasm"), b"q").unwrap();
    assert!(is_here(&directory, "q"));
    assert_eq!(unknown(&directory), Reason::Elsewhere);
    assert!(directory.check().is_ok());
    assert!(matches!(
        directory.read("p", 9),
        Err(AdmissionError::Elsewhere { .. })
    ));
    fs::remove_file(at.join("q.wasm")).unwrap();
    assert_eq!(directory.look("q"), Presence::Absent);
    assert_eq!(unknown(&directory), Reason::Elsewhere);
    // From here on it is this one's directory too.
    fs::write(at.join("p.wasm"), b"p").unwrap();
    assert!(is_here(&directory, "p"));
    fs::remove_file(at.join("p.wasm")).unwrap();
    assert_eq!(directory.look("p"), Presence::Absent);
}

#[test]
fn u3_the_directory_is_known_again_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("plugins");
    fs::create_dir(&at).unwrap();
    fs::write(at.join("p.wasm"), b"p").unwrap();
    let before = PluginDirectory::new(at.clone());
    assert!(is_here(&before, "p"));
    let kept = serde_json::to_vec(&before.home("p")).unwrap();
    let kept: Option<super::Place> = serde_json::from_slice(&kept).unwrap();
    let restarted = || {
        let directory = PluginDirectory::new(at.clone());
        directory.remind("p", kept.as_ref());
        directory
    };
    fs::remove_file(at.join("p.wasm")).unwrap();
    assert_eq!(restarted().look("p"), Presence::Absent, "removed meanwhile");
    fs::rename(&at, root.path().join("aside")).unwrap();
    fs::create_dir(&at).unwrap();
    assert_eq!(unknown(&restarted()), Reason::Replaced, "not mounted");
    fs::write(at.join("q.wasm"), b"q").unwrap();
    assert_eq!(unknown(&restarted()), Reason::Elsewhere);
}

#[test]
fn o4_a_switched_link_leads_to_what_there_is_now() {
    let root = tempfile::tempdir().unwrap();
    let release = |number: u32, plugins: &[&str]| {
        let at = root.path().join(format!("releases/{number}"));
        fs::create_dir_all(&at).unwrap();
        for plugin in plugins {
            fs::write(at.join(format!("{plugin}.wasm")), number.to_string()).unwrap();
        }
        let (new, current) = (root.path().join("new"), root.path().join("current"));
        symlink(&at, &new).unwrap();
        fs::rename(new, current).unwrap();
    };
    release(1, &["p", "q"]);
    let directory = PluginDirectory::new(root.path().join("current"));
    assert!(is_here(&directory, "p") && is_here(&directory, "q"));
    let first = directory.look("p");
    release(2, &["p"]);
    assert!(is_here(&directory, "p") && directory.look("p") != first);
    assert_eq!(&*directory.read("p", 9).unwrap().bytes, b"2");
    assert_eq!(
        directory.look("q"),
        Presence::Absent,
        "the release does not have it any more"
    );
    release(3, &[]);
    assert_eq!(unknown(&directory), Reason::Replaced, "a release that went wrong");
}

#[test]
fn o4_links_are_followed_within_the_directory_and_not_out_of_it() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("plugins");
    fs::create_dir(&at).unwrap();
    // As Kubernetes mounts a ConfigMap.
    let publish = |version: &str| {
        fs::create_dir(at.join(version)).unwrap();
        fs::write(at.join(version).join("p.wasm"), version).unwrap();
        symlink(version, at.join("..data_tmp")).unwrap();
        fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
    };
    publish("..1");
    symlink("..data/p.wasm", at.join("p.wasm")).unwrap();
    let directory = PluginDirectory::new(at.clone());
    let first = directory.look("p");
    assert_eq!(&*directory.read("p", 9).unwrap().bytes, b"..1");
    publish("..2");
    assert_ne!(directory.look("p"), first, "it is seen without being read");
    assert_eq!(&*directory.read("p", 9).unwrap().bytes, b"..2");

    fs::write(root.path().join("secret"), b"secret").unwrap();
    symlink("..", at.join("up")).unwrap();
    let absolute = at.join("..2/p.wasm");
    for target in [
        Path::new("../secret"),
        Path::new("up/secret"),
        Path::new("/etc/hostname"),
        &absolute,
    ] {
        fs::remove_file(at.join("p.wasm")).unwrap();
        symlink(target, at.join("p.wasm")).unwrap();
        let error = directory.read("p", 99).unwrap_err();
        assert!(matches!(error, AdmissionError::Symlink { .. }), "{error}");
        assert!(is_here(&directory, "p"), "it was not removed");
    }
    fs::remove_file(at.join("p.wasm")).unwrap();
    symlink("..data/gone.wasm", at.join("p.wasm")).unwrap();
    let error = directory.read("p", 99).unwrap_err();
    assert!(matches!(error, AdmissionError::Dangling { .. }), "{error}");
    assert!(is_here(&directory, "p"), "nor was this one");
}
