//! The admin listener, as seen by callers who must not reach it: the public port, and another user of the machine.
//! `page.rs` tests a web page's attempts in a real browser.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use reqwest::StatusCode;
use tokio::process::Command;

use support::raw::{exchange, statuses};
use support::{Setup, cli};

/// Request targets that a parser could mistake for an endpoint of the admin listener.
fn targets(authority: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for path in [
        "health",
        "ready",
        "metrics",
        "plugins",
        "plugins/behave/reload",
        "plugins/behave/rollback",
    ] {
        for prefix in [
            "/",
            "//",
            "/./",
            "/../",
            "/admin/",
            "/-/",
            "/_/",
            "/internal/",
            "/auth/",
            "/auth/../",
            "/auth/check/../../",
            "/auth/..;/",
            "/%2e/",
            "/%2e%2e/",
            "/auth/%2e%2e/",
            "/auth/..%2f",
            "/auth%2f..%2f",
            "/%2f",
            "/.%00/",
            "/;/",
            "/:8081/",
            "/\\",
            "/auth/..\\",
            "/assets/../",
            "/assets/gateway.css/../../",
            "/.well-known/../",
            "/auth/login/../../",
            "/auth/login/",
            "/auth/oauth_callback/",
            "/auth/login/..%2f..%2f",
        ] {
            targets.push(format!("{prefix}{path}"));
            targets.push(format!("http://{authority}{prefix}{path}"));
        }
        for suffix in [
            "/", "//", ".json", "%20", "%00", "?", "?a=b", ";a", "/.", "%2f", "#",
        ] {
            targets.push(format!("/{path}{suffix}"));
        }
        targets.push(format!("/{}", path.to_uppercase()));
        targets.push(format!("/{}", path.replace('e', "%65")));
    }
    targets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_port_has_no_admin_endpoint() {
    let gateway = Setup::dev()
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .start()
        .await;
    let admin = gateway.admin().await;
    assert!(admin.address.ip().is_loopback());
    assert_ne!(admin.address, gateway.address);
    let authority = admin.address.to_string();
    let serving = admin.serving().await;
    // Each answer of the admin listener has one of these, and no other answer does.
    let marks = [
        "\"status\":",
        "gateway_plugin",
        "# TYPE",
        "\"plugins\"",
        "\"generation\"",
        "\"kept\"",
        &admin.token,
    ];
    let (mut tried, token) = (0, &admin.token);
    let mut asking = tokio::task::JoinSet::new();
    for target in targets(&authority) {
        for method in ["GET", "POST"] {
            for host in [&authority, "localhost"] {
                let request = format!(
                    "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
                     X-Forwarded-For: 127.0.0.1\r\nX-Original-URL: /metrics\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let (address, target) = (gateway.address, target.clone());
                asking.spawn(async move { (target, exchange(address, request.as_bytes()).await) });
                tried += 1;
            }
        }
        while asking.len() > 32 {
            check(asking.join_next().await.unwrap().unwrap(), &marks);
        }
    }
    for answered in asking.join_all().await {
        check(answered, &marks);
    }
    assert_eq!(
        admin.serving().await,
        serving,
        "nothing was reloaded or rolled back"
    );
    println!(
        "admin listener: {tried} requests to the public port with the admin token, 0 answered as it would"
    );
    gateway.stop().await;
}

fn check((target, answer): (String, String), marks: &[&str]) {
    assert!(
        statuses(&answer).iter().all(|status| (400..500).contains(status)),
        "{target}: {answer}"
    );
    for mark in marks {
        assert!(!answer.contains(mark), "{target}: {answer}");
    }
}

/// A command as another user of this machine, or `None` if this process may not become another user.
fn as_nobody(command: &[&str]) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut nobody = Command::new("setpriv");
    nobody
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .args(command);
    nobody.stdin(Stdio::null()).kill_on_drop(true);
    Some(nobody)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_of_the_machine_cannot_read_the_token() {
    let gateway = Setup::dev().start().await;
    let admin = gateway.admin().await;
    let file = gateway.dir.path().join("admin-token");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Others can reach the directory, so only the file's mode keeps them out.
    fs::set_permissions(gateway.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let open = gateway.dir.path().join("open");
    fs::write(&open, "for everybody").unwrap();
    let read = async |file: &std::path::Path| {
        let output = as_nobody(&["cat", file.to_str().unwrap()])?
            .output()
            .await
            .expect("setpriv, of util-linux");
        Some((
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        ))
    };
    match read(&open).await {
        Some(readable) => {
            assert_eq!(
                readable,
                (true, "for everybody".to_owned()),
                "nobody comes as far as the directory"
            );
            assert_eq!(read(&file).await, Some((false, String::new())));
            for private in ["data", "data/keys"] {
                let path = gateway.dir.path().join(private);
                if path.exists() {
                    let listed = as_nobody(&["ls", path.to_str().unwrap()])
                        .unwrap()
                        .output()
                        .await
                        .unwrap();
                    assert!(!listed.status.success(), "{private}");
                }
            }
        }
        None => println!("not root: that nobody else can read it is left to its mode"),
    }
    // Without the token no process of this machine gets an answer.
    for wrong in [
        "",
        "guess",
        &admin.token[1..],
        &format!("{}0", admin.token),
        &admin.token.to_uppercase(),
    ] {
        for path in ["/health", "/ready", "/metrics", "/plugins", "/nothing"] {
            let answer = admin.send(reqwest::Method::GET, path, wrong).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(
                answer.text().await.unwrap(),
                "{\"error\":\"The admin token is missing or wrong\"}"
            );
        }
    }
    gateway.stop().await;
}

/// The user who created the file knows its content.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_planted_by_another_user_is_rejected() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: no file of another user's can be made");
        return;
    }
    let setup = Setup::dev();
    setup.write();
    let file = setup.admin_token();
    fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&file, Some(65534), Some(65534)).unwrap();
    let said = cli::finish(setup.command()).await.failed();
    assert!(said.contains("belongs to another user"), "{said}");
}
