//! Pins and signatures: what does not have them does not serve, whichever way it comes.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use gateway_host::{PluginSet, PluginSigner, RollbackError};
use sha2::Digest as _;
use test_guests::{V1, V2};

use crate::support::{Fixture, set};

fn digest(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

fn signer() -> PluginSigner {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    PluginSigner::from_pem(&pem::encode(&pem::Pem::new("PRIVATE KEY", key.as_ref()))).unwrap()
}

/// A signature of `p` in this version.
fn sign(signer: &PluginSigner, version: u64, component: &[u8]) -> String {
    signer.sign("p", version, component).unwrap()
}

/// `p` answers for `s`, and these sign.
fn trusting(signers: &[&PluginSigner]) -> PluginSet {
    let mut set = set(&[("s", "p")], &[]);
    set.trusted_keys = signers
        .iter()
        .map(|signer| signer.public_key().unwrap())
        .collect();
    set
}

fn pinned(digest: &str) -> PluginSet {
    let mut set = trusting(&[]);
    set.plugins.get_mut("p").unwrap().sha256 = Some(digest.to_owned());
    set
}

impl Fixture {
    fn sign(&self, signature: &str) {
        std::fs::write(self.path("p").with_extension("wasm.sig"), signature).unwrap();
    }

    fn serves(&self) -> Option<String> {
        self.status("p").generation.map(|(_, digest)| digest)
    }

    async fn wait_for_problem(&self, part: &str) {
        self.wait("p", |status| {
            status
                .problem
                .as_ref()
                .is_some_and(|problem| problem.contains(part))
        })
        .await;
    }

    async fn wait_for(&self, bytes: &[u8]) {
        let digest = digest(bytes);
        self.wait("p", |status| {
            status.problem.is_none()
                && status
                    .generation
                    .as_ref()
                    .is_some_and(|(_, serving)| *serving == digest)
        })
        .await;
    }
}

#[tokio::test]
async fn only_the_pinned_component_serves() {
    let fixture = Fixture::new(&[("p", V1)], pinned(&digest(V2))).await;
    assert_eq!(fixture.serves(), None);
    for part in [digest(V1), digest(V2), "[plugin.p]".to_owned()] {
        assert!(fixture.problem("p").contains(&part), "{}", fixture.problem("p"));
    }
    fixture.put("p", V2);
    fixture.wait_for(V2).await;
    assert_eq!(fixture.status("p").pinned, Some(digest(V2)));
    fixture.put("p", V1);
    fixture.wait_for_problem("its SHA-256 is").await;
    assert_eq!(fixture.serves(), Some(digest(V2)), "what is pinned serves on");

    // The pin follows the file: the new one serves immediately, and the host does not return to the old one.
    fixture.host.reconfigure(pinned(&digest(V1))).await;
    assert_eq!(fixture.serves(), Some(digest(V1)));
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(matches!(error, RollbackError::Refused { .. }), "{error}");

    // A pin before its file stops what serves.
    fixture.host.reconfigure(pinned(&digest(V2))).await;
    assert_eq!(fixture.serves(), None);
    // Nor does a kept one stand in for it.
    let fixture = fixture.restart(pinned(&"0".repeat(64))).await;
    assert_eq!(fixture.serves(), None);
}

#[tokio::test]
async fn a_file_serves_once_it_is_signed() {
    let (signer, other) = (signer(), signer());
    let fixture = Fixture::new(&[("p", V1)], trusting(&[&signer])).await;
    assert_eq!(fixture.serves(), None);
    assert!(
        fixture.problem("p").contains("gateway plugin sign --key"),
        "{}",
        fixture.problem("p")
    );

    // A signature that comes alone is noticed.
    for wrong in [
        sign(&other, 1, V1),
        sign(&signer, 1, V2),
        signer.sign("q", 1, V1).unwrap(),
        String::new(),
        "rubbish".to_owned(),
    ] {
        fixture.sign(&wrong);
        fixture.wait_for_problem("p.wasm").await;
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        assert_eq!(fixture.serves(), None, "{wrong}");
    }
    fixture.sign(&sign(&signer, 1, V1));
    fixture.wait_for(V1).await;
    let status = fixture.status("p");
    assert_eq!(status.signed_by, Some(signer.public_key().unwrap().fingerprint()));
    assert!(status.signature_required);

    // A new file with the old one's signature is not taken; with its own it is, whichever comes first.
    fixture.put("p", V2);
    fixture.wait_for_problem("is not a signature of").await;
    assert_eq!(fixture.serves(), Some(digest(V1)));
    fixture.sign(&sign(&signer, 2, V2));
    fixture.wait_for(V2).await;
    fixture.sign(&sign(&signer, 3, V1));
    fixture.wait_for_problem("is not a signature of").await;
    assert_eq!(fixture.serves(), Some(digest(V2)));
    fixture.put("p", V1);
    fixture.wait_for(V1).await;

    // A signature that is taken away is missed at the next start, not before its file is looked at.
    std::fs::remove_file(fixture.path("p").with_extension("wasm.sig")).unwrap();
    fixture.wait_for_problem("has no signature").await;
    assert_eq!(
        fixture.serves(),
        Some(digest(V1)),
        "it was signed when it was taken"
    );
}

#[tokio::test]
async fn a_key_that_is_no_longer_trusted_is_none_for_what_is_kept_either() {
    let (old, new) = (signer(), signer());
    let fixture = Fixture::new(&[], trusting(&[&old])).await;
    fixture.sign(&sign(&old, 1, V1));
    fixture.put("p", V1);
    fixture.wait_for(V1).await;

    fixture.host.reconfigure(trusting(&[&old, &new])).await;
    assert_eq!(fixture.serves(), Some(digest(V1)));
    fixture.sign(&sign(&new, 2, V2));
    fixture.put("p", V2);
    fixture.wait_for(V2).await;

    fixture.host.reconfigure(trusting(&[&new])).await;
    assert_eq!(fixture.serves(), Some(digest(V2)));
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(
        matches!(&error, RollbackError::Refused { reason, .. } if reason.contains("is not a signature of")),
        "{error}"
    );
    fixture.host.reconfigure(trusting(&[&old, &new])).await;
    fixture.host.rollback("p").await.unwrap();
    assert_eq!(
        fixture.serves(),
        Some(digest(V1)),
        "the signature was kept with it"
    );

    // The restored generation stops with its key, and the file that was rolled back does not return.
    fixture.host.reconfigure(trusting(&[&new])).await;
    assert_eq!(fixture.serves(), None);
    let fixture = fixture.restart(trusting(&[&new])).await;
    assert_eq!(fixture.serves(), None);
    let fixture = fixture.restart(trusting(&[&old])).await;
    assert_eq!(fixture.serves(), Some(digest(V1)));

    // Nothing serves under keys that have signed nothing, by a broken file neither.
    fixture.host.reconfigure(trusting(&[&signer()])).await;
    assert_eq!(fixture.serves(), None);
    std::fs::write(fixture.path("p"), b"rubbish").unwrap();
    let fixture = fixture.restart(trusting(&[&signer()])).await;
    assert_eq!(fixture.serves(), None);
}

#[tokio::test]
async fn what_was_kept_without_a_signature_does_not_serve_where_one_is_asked_for() {
    let signer = signer();
    let fixture = Fixture::new(&[("p", V1)], trusting(&[])).await;
    fixture.put("p", V2);
    fixture.wait_for(V2).await;
    fixture.host.reconfigure(trusting(&[&signer])).await;
    assert_eq!(fixture.serves(), None, "what serves needs one too");
    fixture.sign(&sign(&signer, 1, V2));
    fixture.wait_for(V2).await;
    assert_eq!(
        fixture.status("p").generation.unwrap().0,
        2,
        "it is the same generation"
    );
    let error = fixture.host.rollback("p").await.unwrap_err();
    assert!(
        matches!(&error, RollbackError::Refused { reason, .. } if reason.contains("no signature")),
        "{error}"
    );
}

#[tokio::test]
async fn a_signature_must_be_a_file() {
    let signer = signer();
    let fixture = Fixture::new(&[], trusting(&[&signer])).await;
    let elsewhere = fixture.dir.path().join("elsewhere");
    std::fs::write(&elsewhere, sign(&signer, 1, V1)).unwrap();
    std::os::unix::fs::symlink(&elsewhere, fixture.path("p").with_extension("wasm.sig")).unwrap();
    fixture.put("p", V1);
    fixture.wait_for_problem("signature cannot be used").await;
    assert!(
        fixture.problem("p").contains("symbolic link"),
        "{}",
        fixture.problem("p")
    );
    assert_eq!(fixture.serves(), None);
}

#[tokio::test]
async fn a16_a_signature_that_is_too_large_is_not_called_a_missing_one() {
    let signer = signer();
    let fixture = Fixture::new(&[], trusting(&[&signer])).await;
    fixture.sign(&" ".repeat(2000));
    fixture.put("p", V1);
    fixture.wait_for_problem("is larger than 1024 bytes").await;
    fixture.sign(&sign(&signer, 1, V1));
    fixture.wait_for(V1).await;
    assert_eq!(fixture.status("p").problem, None);
}

#[tokio::test]
async fn a16_a_damaged_record_does_not_forget_the_accepted_version() {
    let signer = signer();
    let set = trusting(&[&signer]);
    let fixture = Fixture::new(&[], set.clone()).await;
    for (version, component) in [(1, V1), (2, V2)] {
        fixture.sign(&sign(&signer, version, component));
        fixture.put("p", component);
        fixture.wait_for(component).await;
    }
    let record = fixture.dir.path().join("cache/p.generations");
    let mut bytes = std::fs::read(&record).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&record, bytes).unwrap();
    fixture.sign(&sign(&signer, 1, V1));
    fixture.put("p", V1);
    let fixture = fixture.restart(set.clone()).await;
    assert_eq!(fixture.serves(), None, "it could be any version");
    let problem = fixture.problem("p");
    assert!(
        problem.contains("p.generations is damaged") && problem.contains("`sha256`"),
        "{problem}"
    );
    // Nor does a removed file repair it.
    std::fs::remove_file(fixture.path("p")).unwrap();
    fixture.wait_for_problem("there is no").await;
    fixture.put("p", V1);
    let fixture = fixture.restart(set.clone()).await;
    assert_eq!(fixture.serves(), None);

    // As the message says: name the component, or start again.
    let mut pinned = set.clone();
    pinned.plugins.get_mut("p").unwrap().sha256 = Some(digest(V1));
    fixture.host.reconfigure(pinned).await;
    assert_eq!(fixture.serves(), Some(digest(V1)));
    std::fs::write(&record, b"damaged again").unwrap();
    let fixture = fixture.restart(set).await;
    assert_eq!(fixture.serves(), None);
    std::fs::remove_file(&record).unwrap();
    fixture.host.reload("p").await;
    assert_eq!(fixture.serves(), Some(digest(V1)));
}

#[tokio::test]
async fn a16_a_signed_component_does_not_serve_as_another_plugin() {
    let signer = signer();
    let mut set = set(&[("s", "p"), ("t", "q")], &[]);
    set.trusted_keys = vec![signer.public_key().unwrap()];
    let fixture = Fixture::new(&[], set).await;
    let names = ["p", "q"];
    let put = |name: &str, signed_as: &str, component: &[u8]| {
        let signature = signer.sign(signed_as, 1, component).unwrap();
        std::fs::write(fixture.path(name).with_extension("wasm.sig"), signature).unwrap();
        fixture.put(name, component);
    };
    for (name, component) in names.into_iter().zip([V1, V2]) {
        put(name, name, component);
        fixture
            .wait(name, |status| {
                status.generation.is_some() && status.problem.is_none() && status.signed_version == Some(1)
            })
            .await;
    }

    // Both files and their signatures change places.
    put("p", "q", V2);
    put("q", "p", V1);
    for (name, other) in [("p", "q"), ("q", "p")] {
        let status = fixture.wait(name, |status| status.problem.is_some()).await;
        let problem = status.problem.unwrap();
        assert!(
            problem.contains(&format!("was made for the plugin \"{other}\"")),
            "{problem}"
        );
        assert!(problem.contains(&format!("--name {name}")), "{problem}");
    }
    let serving = names.map(|name| fixture.status(name).generation.map(|(_, digest)| digest));
    assert_eq!(serving, [Some(digest(V1)), Some(digest(V2))], "as before");
}

#[tokio::test]
async fn a16_an_older_component_does_not_serve() {
    let signer = signer();
    let set = trusting(&[&signer]);
    let fixture = Fixture::new(&[], set.clone()).await;
    fixture.sign(&sign(&signer, 1, V1));
    fixture.put("p", V1);
    fixture.wait_for(V1).await;
    fixture.sign(&sign(&signer, 2, V2));
    fixture.put("p", V2);
    fixture.wait_for(V2).await;

    // An old component is put back, with its old signature.
    fixture.sign(&sign(&signer, 1, V1));
    fixture.put("p", V1);
    fixture.wait_for_problem("version 2 was accepted before").await;
    assert_eq!(fixture.serves(), Some(digest(V2)));
    let fixture = fixture.restart(set.clone()).await;
    assert_eq!(
        fixture.serves(),
        Some(digest(V2)),
        "the kept generation serves in its place"
    );
    assert!(
        fixture.problem("p").contains("the signature states version 1"),
        "{}",
        fixture.problem("p")
    );

    // Not after the file was away either, nor with the same version.
    std::fs::remove_file(fixture.path("p")).unwrap();
    fixture.wait("p", |status| status.generation.is_none()).await;
    fixture.put("p", V1);
    fixture.wait_for_problem("version 2 was accepted before").await;
    assert_eq!(fixture.serves(), None);
    fixture.sign(&sign(&signer, 2, V1));
    fixture
        .wait_for_problem("was accepted before for another component")
        .await;
    assert_eq!(fixture.serves(), None);
    fixture.sign(&sign(&signer, 3, V1));
    fixture.wait_for(V1).await;
}

#[tokio::test]
async fn a16_an_operator_may_go_back() {
    let signer = signer();
    let set = trusting(&[&signer]);
    let fixture = Fixture::new(&[], set.clone()).await;
    for (version, component) in [(1, V1), (2, V2)] {
        fixture.sign(&sign(&signer, version, component));
        fixture.put("p", component);
        fixture.wait_for(component).await;
    }
    fixture.host.rollback("p").await.unwrap();
    assert_eq!(fixture.serves(), Some(digest(V1)));
    let fixture = fixture.restart(set.clone()).await;
    assert_eq!(fixture.serves(), Some(digest(V1)));

    // The file that was gone back to may take the place of the one that was gone back from.
    fixture.sign(&sign(&signer, 1, V1));
    fixture.put("p", V1);
    fixture
        .wait("p", |status| !status.rolled_back && status.problem.is_none())
        .await;
    assert_eq!(fixture.serves(), Some(digest(V1)));

    // So may a component that the operator pins, however old.
    fixture.sign(&sign(&signer, 3, V2));
    fixture.put("p", V2);
    fixture.wait_for(V2).await;
    fixture.sign(&sign(&signer, 1, V1));
    fixture.put("p", V1);
    fixture
        .wait_for_problem(&format!("sha256 = \"{}\"", digest(V1)))
        .await;
    let mut pinned = set;
    pinned.plugins.get_mut("p").unwrap().sha256 = Some(digest(V1));
    fixture.host.reconfigure(pinned).await;
    assert_eq!(fixture.serves(), Some(digest(V1)));
}

#[tokio::test]
async fn a16_a_version_that_nobody_trusted_has_signed_counts_for_nothing() {
    let (signer, other) = (signer(), signer());
    let fixture = Fixture::new(&[], trusting(&[])).await;
    fixture.sign(&sign(&other, gateway_host::MAX_VERSION, V1));
    fixture.put("p", V1);
    fixture.wait_for(V1).await;
    fixture.host.reconfigure(trusting(&[&signer])).await;
    assert_eq!(fixture.serves(), None);
    fixture.sign(&sign(&signer, 1, V2));
    fixture.put("p", V2);
    fixture.wait_for(V2).await;
}
