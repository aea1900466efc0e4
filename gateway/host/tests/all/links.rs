//! Plugins behind links that are switched: a release directory, a mounted ConfigMap.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use test_guests::{V1, V2};

use crate::support::{Fixture, set};

/// How many times a link is switched.
const SWITCHES: u64 = if cfg!(feature = "test-all") { 100 } else { 6 };

fn switch(link: &Path, target: impl AsRef<Path>) {
    let new = link.parent().unwrap().join("..switching");
    symlink(&target, &new).unwrap();
    fs::rename(&new, link).unwrap();
    assert_eq!(fs::read_link(link).unwrap(), target.as_ref());
    assert!(fs::symlink_metadata(new).is_err());
}

/// Switches again and again between two versions by `publish`; each serves.
async fn switches(fixture: &Fixture, mut publish: impl FnMut(u64, &[u8])) {
    for round in 1..=SWITCHES {
        let (bytes, version) = if round % 2 == 0 { (V2, 2) } else { (V1, 1) };
        publish(round, bytes);
        fixture
            .wait("p", |status| {
                status
                    .generation
                    .as_ref()
                    .is_some_and(|(number, _)| *number > round)
            })
            .await;
        assert_eq!(fixture.ask("s").await.unwrap()["version"], version, "{round}");
        assert_eq!(fixture.status("p").problem, None);
    }
}

#[tokio::test]
async fn o4_a_mounted_config_map_is_followed_100_times() {
    let fixture = Fixture::new(&[("p", V2)], set(&[("s", "p")], &[])).await;
    let dir = fixture.dir.path().join("plugins");
    // As the kubelet does it: a new directory beside the old one, `..data` switched to it, the old one removed.
    let publish = |round: u64, bytes: &[u8]| {
        let version = dir.join(format!("..{round}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("p.wasm"), bytes).unwrap();
        switch(&dir.join("..data"), format!("..{round}"));
        if round > 0 {
            let _ = fs::remove_dir_all(dir.join(format!("..{}", round - 1)));
        }
    };
    publish(0, V2);
    switch(&fixture.path("p"), "..data/p.wasm");
    switches(&fixture, publish).await;
    assert!(
        fs::read_link(fixture.path("p")).is_ok(),
        "it was a link all the time"
    );

    // A key that is taken out of the ConfigMap: first its file is gone, then the link.
    fs::create_dir(dir.join("..empty")).unwrap();
    switch(&dir.join("..data"), "..empty");
    fixture.wait("p", |status| status.problem.is_some()).await;
    assert!(
        fixture.ask("s").await.is_ok(),
        "a link to nothing is broken, not removed"
    );
    fs::remove_file(fixture.path("p")).unwrap();
    fixture.wait("p", |status| status.generation.is_none()).await;
}

#[tokio::test]
async fn o4_a_plugin_directory_behind_a_switched_link_is_followed_100_times() {
    let fixture = Fixture::new(&[("p", V2), ("q", V1)], set(&[("s", "p"), ("t", "q")], &[])).await;
    let root = fixture.dir.path().to_owned();
    let current = root.join("plugins");
    let publish = |round: u64, bytes: &[u8]| {
        let release = root.join(format!("releases/{round}"));
        fs::create_dir_all(&release).unwrap();
        fs::write(release.join("p.wasm"), bytes).unwrap();
        fs::write(release.join("q.wasm"), V1).unwrap();
        switch(&current, release);
    };
    fs::rename(&current, root.join("first")).unwrap();
    publish(0, V2);
    switches(&fixture, publish).await;

    // A release without a plugin withdraws it; `gateway plugin reload` sees that too.
    let release = root.join("releases/without");
    fs::create_dir_all(&release).unwrap();
    fs::write(release.join("p.wasm"), V1).unwrap();
    switch(&current, release);
    let status = fixture.host.reload("q").await.unwrap();
    assert!(status.generation.is_none(), "{status:?}");
    fixture.ask("s").await.unwrap();
    // One without any plugin went wrong, and changes nothing.
    let release = root.join("releases/empty");
    fs::create_dir_all(&release).unwrap();
    switch(&current, release);
    let status = fixture.host.reload("p").await.unwrap();
    assert!(
        status.generation.is_some() && status.problem.unwrap().contains("no plugin in it"),
        "the release went wrong"
    );
}
