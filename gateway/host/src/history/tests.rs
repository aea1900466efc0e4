use std::sync::Arc;

use gateway_model::{SystemRandom, Timestamp};

use super::{History, KEPT, Record, RolledBack};
use crate::cache::Cache;
use crate::file::PluginFile;

fn open(dir: &std::path::Path) -> History {
    let engine = gateway_sandbox::engine::Engines::start().unwrap().usual().clone();
    History::new(Arc::new(Cache::open(dir, &engine, &SystemRandom).unwrap()))
}

fn file(bytes: &[u8]) -> PluginFile {
    PluginFile::of(bytes.to_vec())
}

fn entries(dir: &std::path::Path, suffix: &str) -> usize {
    let names = std::fs::read_dir(dir).unwrap().flatten();
    names
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(suffix))
        .count()
}

fn numbers(record: &Record) -> Vec<u64> {
    record.generations.iter().map(|kept| kept.number).collect()
}

#[test]
fn the_last_ones_are_kept_and_numbers_never_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    let plugin: Arc<str> = "p".into();
    let take =
        |history: &History, bytes: &[u8]| history.take(&plugin, &file(bytes), None, None, None, Timestamp(7));
    let history = open(dir.path());
    for (number, bytes) in (1..).zip([b"a", b"b", b"a", b"b", b"c"]) {
        let record = take(&history, bytes);
        assert_eq!(record.in_force().unwrap().number, number);
        assert_eq!(
            numbers(&take(&history, bytes)),
            numbers(&record),
            "it is the same"
        );
    }
    assert_eq!(numbers(&history.record(&plugin)), [3, 4, 5]);
    assert_eq!(entries(dir.path(), ".component"), KEPT);
    take(&history, b"b");
    assert_eq!(entries(dir.path(), ".component"), 2, "identical bytes once");

    let history = open(dir.path());
    let record = history.record(&plugin);
    assert_eq!(numbers(&record), [4, 5, 6]);
    assert_eq!(*history.component(&record.generations[1]).unwrap().bytes, *b"c");

    let record = history.withdraw(&plugin);
    assert!(record.in_force().is_none());
    let record = take(&open(dir.path()), b"b");
    assert_eq!(record.in_force().unwrap().number, 7);
}

#[test]
fn another_plugins_component_is_not_swept() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
    open(dir.path()).take(&one, &file(b"a"), None, None, None, Timestamp(1));
    // Which has never heard of the other.
    let history = open(dir.path());
    history.take(&other, &file(b"b"), None, None, None, Timestamp(1));
    let kept = history.record(&one).generations.remove(0);
    assert!(history.component(&kept).is_some());
}

#[test]
fn what_was_altered_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let plugin: Arc<str> = "p".into();
    let record = open(dir.path()).take(&plugin, &file(b"bytes"), None, None, None, Timestamp(1));
    let kept = &record.generations[0];
    let flip = |name: &str, at: usize| {
        let path = dir.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let component = format!("{}.component", kept.digest);
    for at in [0, 31, 32, 36] {
        flip(&component, at);
        assert!(open(dir.path()).component(kept).is_none(), "byte {at}");
        flip(&component, at);
    }
    assert!(open(dir.path()).component(kept).is_some());
    flip("p.generations", 40);
    let history = open(dir.path());
    let record = history.record(&plugin);
    assert!(record.is_damaged && record.generations.is_empty());
    // Nor is it replaced by one that knows nothing, until a file is accepted or the operator deletes it.
    history.withdraw(&plugin);
    assert!(open(dir.path()).record(&plugin).is_damaged);
    std::fs::remove_file(history.path("p")).unwrap();
    assert_eq!(history.record(&plugin), Record::default());
}

#[test]
fn a_rollback_is_on_record_and_what_it_left_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let plugin: Arc<str> = "p".into();
    let history = open(dir.path());
    for bytes in [b"a", b"b", b"c"] {
        history.take(&plugin, &file(bytes), None, None, None, Timestamp(1));
    }
    let digest = file(b"c").digest;
    let seen = history.record(&plugin);
    let back = RolledBack {
        to: 2,
        file: Some(digest.clone()),
    };
    history.roll_back(&plugin, back).unwrap();
    assert!(history.record(&plugin).was_decided_since(&seen));
    let history = open(dir.path());
    let record = history.record(&plugin);
    assert_eq!(record.in_force().unwrap().number, 2);
    assert!(record.holds(Some(&digest)).is_some());
    assert!(record.holds(Some("other")).is_none() && record.holds(None).is_none());
    assert_eq!(record.before(2).unwrap().number, 1);
    assert!(record.before(1).is_none());

    let record = history.take(&plugin, &file(b"d"), None, None, None, Timestamp(1));
    assert_eq!(numbers(&record), [1, 2, 4]);
    assert!(record.rolled_back.is_none());
}

#[test]
fn a_look_that_began_before_a_removal_is_overtaken_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let plugin: Arc<str> = "p".into();
    let history = open(dir.path());
    history.take(&plugin, &file(b"a"), None, None, None, Timestamp(1));
    let seen = history.record(&plugin);
    assert!(!history.record(&plugin).was_decided_since(&seen));
    history.withdraw(&plugin);
    assert!(history.record(&plugin).was_decided_since(&seen));
    assert!(open(dir.path()).record(&plugin).in_force().is_none());
}

#[test]
fn a16_the_highest_version_is_on_record_whatever_serves() {
    let dir = tempfile::tempdir().unwrap();
    let plugin: Arc<str> = "p".into();
    let history = open(dir.path());
    for (bytes, version) in [(b"a", 4), (b"b", 7), (b"c", 5)] {
        let record = history.take(&plugin, &file(bytes), None, Some(version), None, Timestamp(1));
        assert_eq!(
            record.senior.unwrap().version,
            version.max(if version == 5 { 7 } else { 0 })
        );
    }
    history.take(&plugin, &file(b"d"), None, None, None, Timestamp(1));
    history.withdraw(&plugin);
    let senior = open(dir.path()).record(&plugin).senior.unwrap();
    assert_eq!((senior.version, &*senior.digest), (7, &*file(b"b").digest));
}

#[test]
fn a16_a_record_of_an_earlier_gateway_is_read() {
    let text = r#"{"last":3,"generations":[],"rolled_back":null,"withdrawn":false}"#;
    let record: Record = serde_json::from_str(text).unwrap();
    assert_eq!((record.last, record.senior), (3, None));
}
