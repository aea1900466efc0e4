//! The command line beside a running gateway.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::dev;
use support::Setup;
use support::cli::{self, Ran};
use support::fake_oidc::FakeOidc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_work_while_the_gateway_serves() {
    let gateway = dev().start().await;
    let alice = gateway.sign_in("alice").await;
    gateway.sign_in("bob").await;
    gateway
        .browser()
        .post_as(&alice, "/auth/update?username=alice_l")
        .await;
    let run = async |arguments: &[&str]| gateway.cli(arguments).await.succeeded();

    let listed: Value = serde_json::from_str(&run(&["user", "list", "--json"]).await).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let table = run(&["user", "list"]).await;
    assert!(
        table.contains("alice@example.org") && table.contains("bob@example.org"),
        "{table}"
    );
    let id = gateway.browser().check(&alice).await["profile"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for who in [
        id.as_str(),
        "alice_l",
        "ALICE_L",
        "alice@example.org",
        "dev:alice",
    ] {
        let shown: Value = serde_json::from_str(&run(&["user", "show", who, "--json"]).await).unwrap();
        assert_eq!(shown["id"], id.as_str(), "{who}");
    }
    let export = run(&["user", "export"]).await;
    assert_eq!(
        export
            .lines()
            .filter(|line| serde_json::from_str::<Value>(line).is_ok())
            .count(),
        2,
        "{export}"
    );
    let sessions = run(&["session", "list", "--json"]).await;
    assert_eq!(
        serde_json::from_str::<Vec<Value>>(&sessions).unwrap().len(),
        2,
        "{sessions}"
    );

    for (arguments, names) in [
        (&["user", "show", "nobody"][..], "nobody"),
        (&["user", "disable", "nobody"], "nobody"),
        (&["session", "end", "nothing"], "nothing"),
        (&["user", "delete", "alice_l"], "--yes"),
        (&["user", "frobnicate"], "frobnicate"),
    ] {
        let said = gateway.cli(arguments).await.failed();
        assert!(said.contains(names), "{arguments:?}: {said}");
    }
    assert!(
        gateway.browser().is_signed_in(&alice).await,
        "who was not confirmed was not deleted"
    );
    gateway.stop().await;
}

/// A user whose username, accepted by an older gateway, is another user's id, and one whose address reads like an
/// identity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_every_command_reaches_the_user_of_an_id() {
    let gateway = dev().start().await;
    let (alice, mallory) = (gateway.sign_in("alice").await, gateway.sign_in("mallory").await);
    let id = async |token: &str| {
        gateway.browser().check(token).await["profile"]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (alices, mallorys) = (id(&alice).await, id(&mallory).await);
    let database = rusqlite::Connection::open(gateway.dir.database()).unwrap();
    let sql = "UPDATE users SET username = ?2, username_folded = ?2, email = 'dev:alice' WHERE id = ?1";
    database.execute(sql, [&mallorys, &alices]).unwrap();
    drop(database);
    let run = async |arguments: &[&str]| gateway.cli(arguments).await.succeeded();

    let shown: Value = serde_json::from_str(&run(&["user", "show", &alices, "--json"]).await).unwrap();
    assert_eq!(shown["id"], alices.as_str());
    let by_name = format!("username:{alices}");
    let shown: Value = serde_json::from_str(&run(&["user", "show", &by_name, "--json"]).await).unwrap();
    assert_eq!(shown["id"], mallorys.as_str());
    let ambiguous = gateway.cli(&["user", "disable", "dev:alice"]).await.failed();
    for exactly in [format!("id:{alices}"), format!("id:{mallorys}")] {
        assert!(ambiguous.contains(&exactly), "{ambiguous}");
        run(&["user", "show", &exactly]).await;
    }
    assert!(run(&["session", "end", "--user", &alices]).await.contains(": 1"));
    assert!(!gateway.browser().is_signed_in(&alice).await);
    assert!(gateway.browser().is_signed_in(&mallory).await);
    assert!(
        run(&["user", "disable", &alices])
            .await
            .contains(&format!("disabled {alices}"))
    );
    assert!(
        run(&["user", "enable", &alices])
            .await
            .contains(&format!("enabled {alices}"))
    );
    assert!(
        run(&["user", "delete", &alices, "--yes"])
            .await
            .contains(&format!("deleted {alices}"))
    );
    assert!(gateway.browser().is_signed_in(&mallory).await);
    // No user has that id now, so the text is the username again.
    assert!(
        run(&["user", "disable", &alices])
            .await
            .contains(&format!("disabled {mallorys}"))
    );
    assert!(!gateway.browser().is_signed_in(&mallory).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_an_operator_joins_and_separates_users_while_the_gateway_serves() {
    let gateway = dev().start().await;
    let tokens = [gateway.sign_in("alice").await, gateway.sign_in("bob").await];
    let run = async |arguments: &[&str]| gateway.cli(arguments).await.succeeded();
    let id = async |token: &str| {
        gateway.browser().check(token).await["profile"]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (alice, bob) = (id(&tokens[0]).await, id(&tokens[1]).await);

    // An identity without a user: the next sign-in with it is Alice's.
    let said = run(&["user", "link", "dev:alice", "dev", "carol"]).await;
    assert!(
        said.starts_with("linked dev:carol") && said.contains(&alice),
        "{said}"
    );
    let again = run(&["user", "link", "dev:alice", "dev", "carol"]).await;
    assert!(again.contains("already"), "{again}");
    let carol = gateway.sign_in("carol").await;
    assert_eq!(id(&carol).await, alice);
    let taken = gateway
        .cli(&["user", "link", &alice, "dev", "bob"])
        .await
        .failed();
    assert!(taken.contains(&bob) && taken.contains("merge"), "{taken}");
    let unknown = gateway
        .cli(&["user", "link", &alice, "nowhere", "1"])
        .await
        .failed();
    assert!(unknown.contains("--issuer"), "{unknown}");
    let elsewhere = ["user", "link", &alice, "nowhere", "1", "--issuer"];
    let link = async |issuer: &[&str]| gateway.cli(&[&elsewhere[..], issuer].concat()).await;
    let known = link(&["https://nowhere.example"]).await.failed();
    assert!(known.contains("--unknown-issuer"), "{known}");
    for wrong in [
        "nowhere.example",
        "https://nowhere.example?x=1",
        "ftp://nowhere.example",
        "",
    ] {
        let said = link(&[wrong, "--unknown-issuer"]).await.failed();
        assert!(said.contains("is not an issuer"), "{said}");
    }
    for (subject, issuer) in [
        ("s".repeat(256), "https://nowhere.example".to_owned()),
        ("a\nb".to_owned(), "https://nowhere.example".to_owned()),
        (
            "1".to_owned(),
            format!("https://nowhere.example/{}", "x".repeat(2048)),
        ),
    ] {
        let arguments = ["user", "link", &alice, "nowhere", &subject, "--issuer", &issuer];
        let said = gateway
            .cli(&[&arguments[..], &["--unknown-issuer"]].concat())
            .await
            .failed();
        assert!(said.contains("control characters"), "{said}");
    }
    let linked = link(&["https://nowhere.example", "--unknown-issuer", "--json"])
        .await
        .succeeded();
    let linked: Value = serde_json::from_str(&linked).unwrap();
    assert_eq!(linked["identities"].as_array().unwrap().len(), 3);

    let said = run(&["user", "unlink", &alice, "dev", "carol"]).await;
    assert!(said.contains("sessions ended: 1"), "{said}");
    assert!(!gateway.browser().is_signed_in(&carol).await, "at once");
    assert!(gateway.browser().is_signed_in(&tokens[0]).await);
    assert_ne!(
        id(&gateway.sign_in("carol").await).await,
        alice,
        "a separate user"
    );

    let unconfirmed = gateway
        .cli(&["user", "merge", "dev:bob", "--into", "dev:alice"])
        .await
        .failed();
    assert!(unconfirmed.contains("--yes"), "{unconfirmed}");
    assert!(gateway.browser().is_signed_in(&tokens[1]).await);
    let said = run(&["user", "merge", "dev:bob", "--into", "dev:alice", "--yes"]).await;
    for part in [
        &alice,
        &bob,
        "sessions ended: 1",
        "dropped email: bob@example.org",
        "plugins",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!gateway.browser().is_signed_in(&tokens[1]).await, "at once");
    assert_eq!(id(&gateway.sign_in("bob").await).await, alice);
    let merged = run(&["user", "merge", "dev:carol", "--into", &alice, "--yes", "--json"]).await;
    let merged: Value = serde_json::from_str(&merged).unwrap();
    assert_eq!(merged["user"]["id"], alice.as_str());
    assert_eq!(merged["dropped"]["email"], "carol@example.org");
    gateway.stop().await;
}

/// An identity of another issuer would belong to nobody, or to another person once that issuer is configured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_an_identity_is_linked_under_the_configured_issuer() {
    let google = FakeOidc::start(serde_json::json!({"sub": "1", "name": "Alice"})).await;
    let gateway = Setup::serve().oidc("google", &google).start().await;
    google.sign_in(&gateway.browser(), "/auth/login/google").await;
    let issuer = google.issuer();
    let other = [
        "user",
        "link",
        "google:1",
        "google",
        "2",
        "--issuer",
        "https://other.example.org",
    ];
    let said = gateway.cli(&other).await.failed();
    assert!(
        said.contains("another issuer") && said.contains(&issuer),
        "{said}"
    );
    let own = [&other[..6], &[issuer.as_str()]].concat();
    let said = gateway.cli(&own).await.succeeded();
    assert!(said.contains("linked google:2"), "{said}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_check_explains_or_names_every_mistake() {
    let setup = Setup::serve()
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .env("GITHUB_KEY", "key")
        .env("GITHUB_SECRET", "canary-github");
    setup.write();
    let check = async |setup: &Setup| setup.dir.cli(&["config", "check"]).await;
    let said = check(&setup).await.succeeded();
    for part in ["gateway.toml:", "GITHUB_KEY", "default", "auth.example.org"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("canary"), "{said}");

    let mistaken = setup
        .table("server", "lisen = \"127.0.0.1:1\"")
        .top("extentions = []")
        .env("EXTERNAL_ADDRESS", "http://");
    mistaken.write();
    let toml = fs::read_to_string(mistaken.dir.config_file()).unwrap();
    let Ran { code, stdout, stderr } = check(&mistaken).await;
    assert!(code.is_some_and(|code| code != 0));
    let said = format!("{stdout}{stderr}");
    for (wrong, right) in [("lisen", "listen"), ("extentions", "extensions")] {
        let line = 1 + toml.lines().position(|line| line.starts_with(wrong)).unwrap();
        assert!(
            said.contains(&format!("gateway.toml:{line}")),
            "{wrong} is in line {line}: {said}"
        );
        assert!(said.contains(right), "{said}");
    }
    assert!(said.contains("EXTERNAL_ADDRESS"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_schema_prints_a_json_schema() {
    let mut command = cli::command();
    command.args(["config", "schema"]);
    let schema: Value = serde_json::from_str(&cli::finish(command).await.succeeded()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["properties"]["server"]["additionalProperties"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_keys_are_private_and_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    for (n, algorithm) in ["rs256", "es256", "eddsa"].into_iter().enumerate() {
        let generate = async || {
            let mut command = cli::command();
            command
                .current_dir(directory.path())
                .args(["keys", "generate", "--algorithm", algorithm, "--out"])
                .arg(directory.path().join(format!("keys-{algorithm}")));
            cli::finish(command).await
        };
        let said = generate().await.succeeded();
        let keys: Vec<_> = fs::read_dir(directory.path().join(format!("keys-{algorithm}")))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let private = keys
            .iter()
            .find(|path| fs::read_to_string(path).unwrap().contains("PRIVATE KEY"))
            .unwrap();
        assert_eq!(fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(said.contains(&private.display().to_string()), "{said}");
        let before = fs::read(private).unwrap();
        let again = generate().await;
        assert_eq!(fs::read(private).unwrap(), before, "{again:?}");
        // The key can sign.
        let pem = fs::read_to_string(private).unwrap();
        let gateway = dev().env("PRIVATE_KEY", &pem).start().await;
        let jwks: Value = gateway
            .browser()
            .get("/.well-known/jwks.json")
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(jwks["keys"][0]["alg"], ["RS256", "ES256", "EdDSA"][n]);
        assert!(said.contains(jwks["keys"][0]["kid"].as_str().unwrap()), "{said}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn man_pages_and_completions_are_generated() {
    let run = async |arguments: &[&str]| {
        let mut command = cli::command();
        command.args(arguments);
        cli::finish(command).await.succeeded()
    };
    let page = run(&["man"]).await;
    assert!(page.contains(".TH gateway 1"), "{page}");
    assert!(!page.contains("compile"), "a hidden command has no page: {page}");

    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    run(&["man", pages.to_str().unwrap()]).await;
    for name in ["gateway.1", "gateway-config-check.1", "gateway-user-list.1"] {
        let page = fs::read_to_string(pages.join(name)).unwrap();
        assert!(page.contains(".TH gateway"), "{name}: {page}");
    }
    assert!(!pages.join("gateway-compile-plugin.1").exists());

    for (shell, says) in [
        ("bash", "complete -F _gateway"),
        ("fish", "complete -c gateway"),
        ("zsh", "#compdef gateway"),
    ] {
        let script = run(&["completions", shell]).await;
        assert!(
            script.contains(says) && script.contains("rollback"),
            "{shell}: {script}"
        );
    }
    let mut unknown = cli::command();
    unknown.args(["completions", "cmd.exe"]);
    assert_eq!(cli::finish(unknown).await.code, Some(2));
}
