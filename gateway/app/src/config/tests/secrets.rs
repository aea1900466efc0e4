//! Secrets and keys: their sources, and that they are never shown.

use std::fs;

use gateway_sandbox::PluginConfig;
use gateway_token::Algorithm;
use secrecy::ExposeSecret as _;

use super::{Setup, key};
use crate::config::load;

#[test]
fn secrets_are_in_no_report_debug_or_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let secret_file = directory.path().join("secret");
    fs::write(&secret_file, "canary-file\n").unwrap();
    let toml = format!(
        "[keys]\nsession_secret = \"canary-session-0123456789abcdef0123456789\"\n\
         [providers.work]\nissuer = \"https://login.example.org\"\nclient_id = \"id\"\nclient_secret_file = {secret_file:?}\n\
         [service.x]\n[plugin.x]\ngrants = [\"config\"]\nsettings = {{ token = \"canary-setting\" }}\n"
    );
    let variables = [("GOOGLE_KEY", "id"), ("GOOGLE_SECRET", "canary-google")];
    let setup = Setup::with_key(&toml, &variables);
    let loaded = setup.load();
    assert_eq!(
        loaded.config.providers[0]
            .client_auth
            .as_secret()
            .unwrap()
            .expose_secret(),
        "canary-file",
        "the line break is removed"
    );
    let pem = key().lines().nth(1).unwrap();
    for text in [
        loaded.report.to_string(),
        format!("{:?}", loaded.report),
        format!("{:?}", setup.sources),
    ] {
        assert!(!text.contains("canary") && !text.contains(pem), "{text}");
    }
    let debug = format!("{:?}", loaded.config);
    assert!(
        !debug.contains("canary-google") && !debug.contains("canary-session") && !debug.contains(pem),
        "{debug}"
    );
    assert_eq!(
        setup.reported("providers.google.client_secret"),
        "providers.google.client_secret (hidden) GOOGLE_SECRET"
    );
    assert_eq!(
        setup.reported("plugin.x.settings.token"),
        "plugin.x.settings.token (hidden) gateway.toml:10"
    );
    let mut preset = Setup::with_key("[service.x]\n", &[]);
    let settings = [("token".to_owned(), "canary-preset".to_owned())].into();
    let config = PluginConfig {
        settings,
        ..PluginConfig::default()
    };
    preset.sources.presets.plugins.insert("x".to_owned(), config);
    assert_eq!(
        preset.reported("plugin.x.settings.token"),
        "plugin.x.settings.token (hidden) gateway dev"
    );
    // The file has mode 0644.
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.contains("chmod 600")),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn a_plugins_secrets_are_read_and_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let toml = format!(
        "[service.x]\n[plugin.x]\ngrants = [\"secrets\"]\n[plugin.x.secrets]\n\
         filed = {{ file = {file:?} }}\nset = {{ env = \"TOKEN_OF_X\" }}\n"
    );
    let setup = Setup::with_key(&toml, &[("TOKEN_OF_X", "canary-variable")]);
    for (written, read) in [
        ("canary-file", "canary-file"),
        ("canary-file\n", "canary-file"),
        ("canary-file\r\n", "canary-file"),
        (" canary-file \n\n", " canary-file \n"),
    ] {
        fs::write(&file, written).unwrap();
        let loaded = setup.load();
        let secret = |text: &str| gateway_sandbox::Secret::from(text.to_owned());
        let expected = [
            ("filed".to_owned(), secret(read)),
            ("set".to_owned(), secret("canary-variable")),
        ];
        let config = &loaded.config.reloadable.plugins.plugins["x"];
        assert_eq!(config.secrets, expected.into(), "{written:?}");
        let shown = format!("{:?}{:?}{}", loaded.config, loaded.report, loaded.report);
        assert!(!shown.contains("canary"), "{shown}");
    }
    assert_eq!(
        setup.reported("plugin.x.secrets.filed"),
        "plugin.x.secrets.filed (hidden) gateway.toml:5"
    );
    let loaded = setup.load();
    assert!(
        loaded
            .warnings
            .iter()
            .all(|warning| warning.contains("chmod 600")),
        "{:?}",
        loaded.warnings
    );
    assert_eq!(loaded.warnings.len(), 1, "it is mode 0644 here");

    fs::write(&file, "\n").unwrap();
    assert_eq!(
        setup.mistakes(),
        ["gateway.toml:5: plugin.x.secrets.filed: is empty"]
    );
}

#[test]
fn secrets_without_their_grant_are_warned_of() {
    let toml = "[service.x]\n[plugin.x.secrets]\na = { env = \"TOKEN_OF_X\" }\n";
    let loaded = Setup::with_key(toml, &[("TOKEN_OF_X", "canary")]).load();
    assert_eq!(
        loaded.warnings,
        [r#"the plugin "x" has secrets, but not the grant "secrets", so it cannot read them"#]
    );
}

#[test]
fn a_variable_wins_over_a_secret_file_and_two_settings_of_one_source_are_rejected() {
    let toml = "[providers.google]\nclient_id = \"id\"\nclient_secret_file = \"/nonexistent\"\n";
    let setup = Setup::with_key(toml, &[("GOOGLE_SECRET", "stronger")]);
    assert_eq!(
        setup.load().config.providers[0]
            .client_auth
            .as_secret()
            .unwrap()
            .expose_secret(),
        "stronger"
    );
    let setup = Setup::with_key(&format!("{toml}client_secret = \"x\"\n"), &[]);
    assert_eq!(
        setup.mistakes(),
        [
            "gateway.toml:3: providers.google.client_secret_file: providers.google.client_secret is set too: keep one of \
          them"
        ]
    );
}

#[test]
fn keys_come_from_files_and_the_last_signs() {
    let setup = Setup::new("", &[]);
    let data = setup.directory.path().join("data");
    fs::create_dir_all(data.join("keys")).unwrap();
    let mut sources = setup.sources.clone();
    sources.set_flag("data_dir", "--data", data.to_str().unwrap());
    let write = |name: &str, pem: &str| fs::write(data.join("keys").join(name), pem).unwrap();
    write("1.pem", key());
    let before = load(&sources).unwrap().config;
    assert_eq!(before.signing_keys.len(), 1);

    let new = gateway_token::generate_key(Algorithm::EdDSA).unwrap().0;
    write("2.pem", new.expose_secret());
    let after = load(&sources).unwrap().config;
    assert_eq!(
        after.signing_keys[0].expose_secret(),
        new.expose_secret(),
        "the last by name signs"
    );
    assert_eq!(
        after.session_secrets[1].expose_secret(),
        before.session_secrets[0].expose_secret()
    );

    write(
        "3.pem",
        "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n",
    );
    let text = load(&sources).unwrap_err().to_string();
    assert!(
        text.contains("keys.signing") && !text.contains("canary"),
        "{text}"
    );
}

/// A session remains valid as long as the key from which its secret was derived is configured, in any position.
#[test]
fn o2_adding_a_key_ends_no_session() {
    let setup = Setup::new("", &[]);
    let data = setup.directory.path().join("data");
    fs::create_dir_all(data.join("keys")).unwrap();
    let mut sources = setup.sources.clone();
    sources.set_flag("data_dir", "--data", data.to_str().unwrap());
    let write = |name: &str, pem: &str| fs::write(data.join("keys").join(name), pem).unwrap();
    let new = || gateway_token::generate_key(Algorithm::EdDSA).unwrap().0;
    let secrets = || -> Vec<String> {
        let secrets = load(&sources).unwrap().config.session_secrets;
        secrets
            .iter()
            .map(|secret| secret.expose_secret().into())
            .collect()
    };
    write("5.pem", key());
    let before = secrets();
    assert_eq!(before.len(), 1);
    // First a key that is only published, then a new active key.
    write("1.pem", new().expose_secret());
    let published = secrets();
    assert_eq!(published.len(), 2);
    assert_eq!(published[0], before[0], "the key that signs has not changed");
    write("9.pem", new().expose_secret());
    let rotated = secrets();
    assert_eq!(rotated.len(), 3);
    assert!(
        rotated.ends_with(&published),
        "an older secret is no longer accepted"
    );
    // Removing a key removes its secret.
    fs::remove_file(data.join("keys/1.pem")).unwrap();
    assert_eq!(secrets(), rotated[..2]);
}

#[test]
fn a_public_key_of_another_private_key_is_warned_of() {
    let other = gateway_token::generate_key(Algorithm::ES256).unwrap().1;
    let loaded = Setup::with_key("", &[("PUBLIC_KEY", &other)]).load();
    assert_eq!(loaded.config.public_keys.len(), 1);
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.contains("PUBLIC_KEY")),
        "{:?}",
        loaded.warnings
    );

    let keys = gateway_token::SigningKeys::from_pems(&[key().into()], &[]).unwrap();
    let loaded = Setup::with_key("", &[("PUBLIC_KEY", &keys.public_key_pem().replace('\n', "\\n"))]).load();
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn o2_several_session_secrets_are_read_in_their_order() {
    let (one, two) = (
        "canary-one-0123456789abcdef0123456789",
        "canary-two-0123456789abcdef0123456789",
    );
    let derived = Setup::with_key("", &[]).load().config.session_secrets;
    let derived = derived[0].expose_secret();
    let file = |toml: String| Setup::with_key(&toml, &[]);
    let setup = file(format!(
        "[keys]\nsession_secrets = [{one:?}, {two:?}, \"derived\"]\n"
    ));
    let loaded = setup.load();
    let secrets: Vec<_> = loaded
        .config
        .session_secrets
        .iter()
        .map(|secret| secret.expose_secret())
        .collect();
    assert_eq!(secrets, [one, two, derived]);
    let report = loaded.report.to_string();
    assert!(
        report.contains("keys.session_secrets") && report.contains("derived from PRIVATE_KEY"),
        "{report}"
    );
    assert!(!report.contains("canary"), "{report}");
    // The environment wins.
    let toml = format!("[keys]\nsession_secret = {one:?}\n");
    let loaded = Setup::with_key(&toml, &[("GATEWAY_SESSION_SECRETS", &format!("derived; {two}"))]).load();
    let secrets: Vec<_> = loaded
        .config
        .session_secrets
        .iter()
        .map(|secret| secret.expose_secret())
        .collect();
    assert_eq!(secrets, [derived, two]);
    let many = vec![format!("{one:?}"); 9].join(", ");
    for (toml, expected) in [
        (
            format!("[keys]\nsession_secrets = [{one:?}, \"canary\"]\n"),
            "must be at least 32 bytes",
        ),
        (
            "[keys]\nsession_secrets = []\n".to_owned(),
            "must have 1 to 8 secrets",
        ),
        (
            format!("[keys]\nsession_secrets = [{many}]\n"),
            "must have 1 to 8 secrets",
        ),
        (
            format!("[keys]\nsession_secrets = [{one:?}]\nsession_secret = {two:?}\n"),
            "keep one of the two settings",
        ),
        (
            format!("[keys]\nsession_secrets = [{one:?}]\nsession_secrets_file = \"x\"\n"),
            "keep one of them",
        ),
        (
            "[keys]\nsession_secrets_file = \"/nonexistent\"\n".to_owned(),
            "cannot read /nonexistent",
        ),
    ] {
        let mistakes = file(toml.clone()).mistakes().concat();
        assert!(
            mistakes.contains(expected) && !mistakes.contains("canary"),
            "{toml}: {mistakes}"
        );
    }
}

#[test]
fn p10_a_byte_order_mark_is_not_part_of_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, "\u{feff}canary-file\r\n").unwrap();
    let toml = format!("[providers.google]\nclient_id = \"id\"\nclient_secret_file = {file:?}\n");
    let loaded = Setup::with_key(&toml, &[]).load();
    let secret = loaded.config.providers[0].client_auth.as_secret().unwrap();
    assert_eq!(secret.expose_secret(), "canary-file");
}

#[test]
fn o5_a_public_key_that_should_sign_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    let (_, public) = gateway_token::generate_key(Algorithm::ES256).unwrap();
    fs::write(&file, public).unwrap();
    let toml = format!("[keys]\nsigning = [{file:?}]\n");
    let mistakes = Setup::new(&toml, &[]).mistakes().join("\n");
    let said = format!(
        "keys.signing: {} contains a public key, which cannot sign",
        file.display()
    );
    assert!(
        mistakes.contains(&said) && !mistakes.contains("there is no signing key"),
        "{mistakes}"
    );
}
