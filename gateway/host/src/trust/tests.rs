use std::sync::Arc;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;

use super::{
    KeyError, MAX_VERSION, PluginSigner, STANDARD, Seniority, SignError, Trust, TrustedKey, check, message,
    message_v1, signed_by,
};
use crate::error::AdmissionError;
use crate::file::PluginFile;
use gateway_sandbox::PluginConfig;

/// A new private key, PEM.
fn private() -> String {
    let key = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
    pem::encode(&pem::Pem::new("PRIVATE KEY", key.as_ref()))
}

#[test]
fn keys_are_read_and_written_and_others_refused() {
    let private = private();
    let signer = PluginSigner::from_pem(&private).unwrap();
    let public = signer.public_key().unwrap();
    let text = public.to_pem();
    assert_eq!(TrustedKey::from_pem(&text), Ok(public));
    assert_eq!(TrustedKey::from_pem(&private), Err(KeyError::Private));
    assert_eq!(PluginSigner::from_pem(&text).unwrap_err(), KeyError::Public);
    assert_eq!(TrustedKey::from_pem("key"), Err(KeyError::NotPem));
    let other = pem::encode(&pem::Pem::new("PUBLIC KEY", [1_u8; 44]));
    assert_eq!(TrustedKey::from_pem(&other), Err(KeyError::NotEd25519));
    // From RFC 8410 section 10.1.
    let known = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    assert_eq!(TrustedKey::from_pem(known).unwrap().to_pem(), known);
    let known = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    assert!(PluginSigner::from_pem(known).is_ok());
}

const DIGEST: &str = "ab";

fn digest(component: &[u8]) -> String {
    PluginFile::of(component.to_vec()).digest
}

/// A signature as version 1 of `gateway plugin sign` wrote it.
fn sign_v1(signer: &PluginSigner, component: &[u8]) -> String {
    STANDARD.encode(signer.0.sign(&message_v1(&digest(component))).as_ref())
}

#[test]
fn a_signature_is_of_one_component_by_one_key_and_for_this_purpose() {
    let signer = PluginSigner::from_pem(&private()).unwrap();
    let keys = [signer.public_key().unwrap()];
    let other = [PluginSigner::from_pem(&private()).unwrap().public_key().unwrap()];
    let digest = digest(b"component");
    let text = signer.sign("p", 1, b"component").unwrap();
    assert_eq!(signed_by(&keys, "p", &digest, &text), keys.first());
    assert_eq!(signed_by(&other, "p", &digest, &text), None);
    assert_eq!(signed_by(&[], "p", &digest, &text), None);
    let stale = PluginFile::of(b"another".to_vec()).digest;
    assert_eq!(signed_by(&keys, "p", &stale, &text), None);
    let bare = STANDARD.encode(signer.0.sign(digest.as_bytes()).as_ref());
    assert_eq!(signed_by(&keys, "p", &digest, &bare), None);
    let named = format!("v2 p 1 {bare}");
    for wrong in [
        "",
        "\n",
        "AAAA",
        "not base64",
        &text.repeat(2),
        "v2",
        "v2 p 1",
        &named,
    ] {
        assert_eq!(signed_by(&keys, "p", &digest, wrong), None, "{wrong:?}");
    }
    assert_eq!(message("p", 7, DIGEST), b"auth-gateway plugin v2\np\n7\nab\n");
    assert_eq!(message_v1(DIGEST), b"auth-gateway plugin v1\nab\n");
}

#[test]
fn a16_a_signature_is_for_one_plugin_and_one_version() {
    let signer = PluginSigner::from_pem(&private()).unwrap();
    let keys = [signer.public_key().unwrap()];
    let digest = digest(b"component");
    let text = signer.sign("p", 12, b"component").unwrap();
    let base64 = text.trim().rsplit(' ').next().unwrap();
    assert!(signed_by(&keys, "p", &digest, &text).is_some());
    assert!(signed_by(&keys, "q", &digest, &text).is_none());
    for altered in [
        format!("v2 q 12 {base64}"),
        format!("v2 p 13 {base64}"),
        format!("v2 p 0 {base64}"),
        format!("v2 p 012 {base64}"),
        format!("v2 p +12 {base64}"),
        format!("v2 p 12 {base64} x"),
        format!("v2 p\n12 {base64}"),
        base64.to_owned(),
    ] {
        for plugin in ["p", "q"] {
            assert_eq!(signed_by(&keys, plugin, &digest, &altered), None, "{altered}");
        }
    }
    // The text of one version is not valid in the other.
    let v1 = sign_v1(&signer, b"component");
    assert!(signed_by(&keys, "p", &digest, &format!("v2 p 12 {v1}")).is_none());
}

#[test]
fn a16_only_names_of_plugins_are_signed() {
    let signer = PluginSigner::from_pem(&private()).unwrap();
    for name in ["", "a\nb", "a b", "../p", ".p", "\u{e4}"] {
        assert!(
            matches!(signer.sign(name, 1, b"c"), Err(SignError::Name(_))),
            "{name:?}"
        );
    }
    for version in [0, MAX_VERSION + 1, u64::MAX] {
        assert_eq!(signer.sign("p", version, b"c"), Err(SignError::Version));
    }
}

#[test]
fn a16_a_version_that_leaves_no_room_is_refused_though_it_was_signed() {
    let signer = PluginSigner::from_pem(&private()).unwrap();
    let trust = Trust {
        keys: vec![signer.public_key().unwrap()],
        allows_v1: false,
    };
    let (digest, config) = (digest(b"component"), PluginConfig::default());
    let check_of = |version: u64| {
        let made = signer.0.sign(&message("p", version, &digest));
        let text: Arc<str> = format!("v2 p {version} {}", STANDARD.encode(made.as_ref())).into();
        check(&trust, "p", &config, &digest, Some(&text))
    };
    assert_eq!(check_of(MAX_VERSION), Ok(()));
    for version in [MAX_VERSION + 1, u64::MAX] {
        let error = check_of(version).unwrap_err();
        assert!(matches!(error, AdmissionError::VersionTooHigh { .. }), "{error}");
        assert!(error.to_string().contains("9007199254740991"), "{error}");
    }
}

#[test]
fn a16_only_the_keys_own_signature_tells_a_version() {
    let signer = PluginSigner::from_pem(&private()).unwrap();
    let key = signer.public_key().unwrap();
    let other = PluginSigner::from_pem(&private()).unwrap();
    let text = signer.sign("p", 12, b"component").unwrap();
    assert_eq!(key.signed_version("p", b"component", &text), Some(12));
    assert_eq!(key.signed_version("q", b"component", &text), None);
    assert_eq!(key.signed_version("p", b"another", &text), None);
    let theirs = other.sign("p", 13, b"component").unwrap();
    assert_eq!(key.signed_version("p", b"component", &theirs), None);
    let made_up = format!("v2 p {} AAAA", u64::MAX);
    assert_eq!(key.signed_version("p", b"component", &made_up), None);
}

#[test]
fn a16_version_1_counts_only_where_the_operator_allows_it() {
    let signer = PluginSigner::from_pem(&private()).unwrap();
    let mut trust = Trust {
        keys: vec![signer.public_key().unwrap()],
        allows_v1: false,
    };
    let (digest, config) = (digest(b"component"), PluginConfig::default());
    let v1: Option<Arc<str>> = Some(sign_v1(&signer, b"component").into());
    let error = check(&trust, "p", &config, &digest, v1.as_ref()).unwrap_err();
    assert!(
        matches!(error, AdmissionError::NamelessSignature { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("allow_v1_signatures = true"),
        "{error}"
    );
    trust.allows_v1 = true;
    assert_eq!(check(&trust, "p", &config, &digest, v1.as_ref()), Ok(()));
    assert!(check(&trust, "p", &config, DIGEST, v1.as_ref()).is_err());
}

#[test]
fn a16_the_version_never_falls() {
    let accepted = Seniority {
        version: 7,
        digest: "seven".into(),
    };
    let check = |digest: &str, version| accepted.check("p", digest, version);
    assert_eq!(check("eight", Some(8)), Ok(()));
    assert_eq!(check("seven", Some(7)), Ok(()));
    assert!(matches!(
        check("other", Some(7)),
        Err(AdmissionError::SameVersion { .. })
    ));
    assert!(matches!(check("six", Some(6)), Err(AdmissionError::Older { .. })));
    assert!(matches!(check("six", None), Err(AdmissionError::Older { .. })));
}

#[test]
fn both_are_asked_for_where_both_are_configured() {
    let signer = PluginSigner::from_pem(&private()).unwrap();
    let trusting = Trust {
        keys: vec![signer.public_key().unwrap()],
        allows_v1: false,
    };
    let digest = digest(b"component");
    let signature = Some(signer.sign("p", 1, b"component").unwrap().into());
    let mut config = PluginConfig::default();
    let asked = |config: &PluginConfig, trust: &Trust, signature: &Option<_>| {
        check(trust, "p", config, &digest, signature.as_ref())
    };
    assert_eq!(asked(&config, &Trust::default(), &None), Ok(()));
    assert!(matches!(
        asked(&config, &trusting, &None),
        Err(AdmissionError::Unsigned { .. })
    ));
    assert_eq!(asked(&config, &trusting, &signature), Ok(()));
    config.sha256 = Some("0".repeat(64));
    assert!(matches!(
        asked(&config, &trusting, &signature),
        Err(AdmissionError::Pinned { .. })
    ));
    config.sha256 = Some(digest.clone());
    assert_eq!(asked(&config, &trusting, &signature), Ok(()));
}
