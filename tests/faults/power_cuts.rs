//! Power cuts: the test copies the database's disk while the gateway is stopped. The copy has what was synced, and
//! nothing that the kernel had not written yet.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::ledger::Ledger;
use super::machine::{Dice, Mount, assert_sound, run, skip};
use super::trials;
use support::Setup;
use support::setup::SetupDir;

const CUTS: u32 = trials(3, 50);
const CALLERS: u32 = 3;
/// Bytes of the disk. A small one is quicker to copy.
const DISK: u64 = 32 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_during_sign_ins_and_updates_lose_nothing_that_was_acknowledged() {
    let setup = Setup::dev();
    let (image, _mounted) = match disk(&setup.dir) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let database = setup.dir.path().join("disk/gateway.sqlite");
    let setup = setup.env("DATABASE_URL", &url(&database));
    let gateway = setup.start().await;
    let ledger = Ledger::default();
    let mut crowd = ledger.crowd(&gateway, "p", CALLERS);
    let mut dice = Dice::new();
    let mut checked = 0;
    for cut in 0..CUTS {
        let seen = crowd.numbers()[1];
        crowd.have_answers(seen + 1).await;
        tokio::time::sleep(Duration::from_micros(dice.below(100_000))).await;
        gateway.signal(Signal::STOP);
        let copy = setup.dir.path().join("copy.img");
        fs::write(&copy, still(&image)).expect("a copy");
        // Every answer that has been read by now was sent before the cut.
        let at_cut = ledger.snapshot();
        gateway.signal(Signal::CONT);

        let after =
            Mount::image(&copy, setup.dir.path().join(format!("after-{cut}"))).expect("the copy mounts");
        let database = after.path().join("gateway.sqlite");
        at_cut
            .assert_stored(&setup.dir, &["--database", &url(&database)])
            .await;
        assert_sound(&database);
        checked += at_cut.people().len();
    }
    let [asked, acknowledged, refused] = crowd.stop().await;
    println!(
        "{CUTS} power cuts, {asked} sign-ins and updates begun, {acknowledged} acknowledged, {refused} refused; people \
         looked for after the cuts: {checked}, lost: none"
    );
    assert!(checked > 0, "nobody was ever signed in");
    gateway.stop().await;
}

/// A new disk, mounted as `disk`: its image, and the mount.
fn disk(dir: &SetupDir) -> Result<(PathBuf, Mount), String> {
    let image = dir.path().join("disk.img");
    let file = fs::File::create(&image).expect("a file");
    file.set_len(DISK).expect("a file system with room");
    run("mkfs.ext4", &[&"-q", &image])?;
    let mount = Mount::image(&image, dir.path().join("disk"))?;
    Ok((image, mount))
}

/// The disk's content at one moment: nothing was written during the copy.
fn still(image: &Path) -> Vec<u8> {
    let read = || fs::read(image).expect("the image");
    let (mut before, mut now) = (read(), read());
    while before != now {
        (before, now) = (now, read());
    }
    now
}

fn url(database: &Path) -> String {
    format!("sqlite:///{}", database.display())
}
