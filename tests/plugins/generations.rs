//! Rollback to earlier generations, signed plugins, and compiling in a separate process: the running gateway, its admin
//! listener and the commands that use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::Digest as _;
use test_guests::{COMPILE_BOMB, V1, V2};

use support::cli::{self, Ran};
use support::wait::PATIENCE;
use support::{Gateway, Setup, eventually};

fn setup() -> Setup {
    Setup::dev()
        .env(
            "PRIVATE_KEY",
            &support::setup::private_key(gateway_token::Algorithm::ES256),
        )
        .plugin("example", V1)
        .service("example", "example")
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

/// The component with one more empty custom section: a different file with the same behaviour.
fn variant(bytes: &[u8], name: u8) -> Vec<u8> {
    [bytes, &[0, 3, 1, name, 0]].concat()
}

/// Number and digest of the serving generation.
async fn serving(gateway: &Gateway) -> Option<(u64, String)> {
    let status = status(gateway).await;
    let generation = &status["generation"];
    Some((generation[0].as_u64()?, generation[1].as_str()?.to_owned()))
}

async fn status(gateway: &Gateway) -> Value {
    let plugins = gateway.admin().await.plugins().await;
    let plugins = plugins["plugins"].as_array().unwrap();
    let example = plugins.iter().find(|plugin| plugin["name"] == "example");
    example.unwrap().clone()
}

async fn wait_for(gateway: &Gateway, bytes: &[u8]) {
    let digest = digest(bytes);
    eventually("the file serves", async || {
        serving(gateway).await.filter(|(_, serving)| *serving == digest)
    })
    .await;
}

async fn wait_for_problem(gateway: &Gateway, part: &str) {
    eventually(part, async || {
        let status = status(gateway).await;
        let problem = status["problem"].as_str().unwrap_or_default();
        problem.contains(part).then_some(())
    })
    .await;
}

/// Runs `gateway plugin …` against the running gateway.
pub(super) async fn plugin(gateway: &Gateway, arguments: &[&str]) -> Ran {
    let admin = gateway.admin().await.address.to_string();
    let mut all = vec!["plugin"];
    all.extend(arguments);
    all.extend(["--admin", &admin]);
    gateway.cli(&all).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_holds_across_a_restart_until_the_file_changes() {
    let setup = setup();
    let gateway = setup.start().await;
    gateway.dir.place("example", V2);
    wait_for(&gateway, V2).await;

    let table = plugin(&gateway, &["rollback", "example"]).await.succeeded();
    assert!(table.contains("rolled back"), "{table}");
    assert_eq!(serving(&gateway).await, Some((1, digest(V1))));
    gateway.reload().await;
    assert_eq!(serving(&gateway).await, Some((1, digest(V1))));
    gateway.stop().await;

    let gateway = setup.start().await;
    assert_eq!(serving(&gateway).await, Some((1, digest(V1))));
    assert_eq!(status(&gateway).await["rolled_back"], true);
    let refused = plugin(&gateway, &["rollback", "example"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("no generation of \"example\" before 1"),
        "{}",
        refused.stderr
    );
    // Looking at the same file again does not end the rollback.
    plugin(&gateway, &["reload", "example"]).await.succeeded();
    assert_eq!(serving(&gateway).await, Some((1, digest(V1))));

    let third = variant(V2, b'3');
    gateway.dir.place("example", &third);
    wait_for(&gateway, &third).await;
    assert_eq!(serving(&gateway).await.unwrap().0, 3);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_report_the_result() {
    let gateway = setup().start().await;
    let listed = plugin(&gateway, &["list", "--json"]).await.succeeded();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["name"], "example");
    assert_eq!(listed[0]["kept"][0]["digest"], digest(V1));
    let table = plugin(&gateway, &["list"]).await.succeeded();
    assert!(table.contains(&digest(V1)[..12]), "{table}");
    plugin(&gateway, &["reload"]).await.succeeded();

    gateway.dir.place("example", b"rubbish");
    let refused = plugin(&gateway, &["reload", "example"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("not a valid component"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stdout.contains("serves"),
        "the old one does: {}",
        refused.stdout
    );
    assert_eq!(plugin(&gateway, &["reload"]).await.code, Some(1));

    let unknown = plugin(&gateway, &["rollback", "nobody"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("is not configured"), "{}", unknown.stderr);
    assert_eq!(plugin(&gateway, &["rollback"]).await.code, Some(2));
    assert_eq!(plugin(&gateway, &["rollback", "../x"]).await.code, Some(2));
    let nobody = gateway.cli(&["plugin", "list", "--admin", "127.0.0.1:1"]).await;
    assert_eq!(nobody.code, Some(3), "{}", nobody.stderr);

    let admin = gateway.admin().await;
    let client = reqwest::Client::new();
    let post = |path: &str| client.post(format!("http://{}{path}", admin.address));
    let answer = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();
    assert_eq!(
        answer(post("/plugins/example/rollback")).await,
        StatusCode::UNAUTHORIZED
    );
    let token = &admin.token;
    for (path, status) in [
        ("/plugins/example/rollback", StatusCode::CONFLICT),
        ("/plugins/example/reload", StatusCode::CONFLICT),
        ("/plugins/nobody/reload", StatusCode::NOT_FOUND),
        ("/plugins/nobody/rollback", StatusCode::NOT_FOUND),
        ("/plugins/example/explode", StatusCode::NOT_FOUND),
        ("/plugins/example", StatusCode::NOT_FOUND),
        ("/plugins", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        assert_eq!(answer(post(path).bearer_auth(token)).await, status, "{path}");
    }
    let from_a_page = post("/plugins/example/rollback")
        .bearer_auth(token)
        .header("origin", "http://localhost");
    assert_eq!(answer(from_a_page).await, StatusCode::FORBIDDEN);
    assert_eq!(
        admin.get("/plugins/example/reload").await.status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_during_swaps_leave_a_complete_generation() {
    // Session tokens name the gateway that issued them, so it must have the same name after each start.
    let setup = setup().env("EXTERNAL_ADDRESS", "http://127.0.0.1:9");
    for round in 0..if cfg!(feature = "test-all") { 12_u8 } else { 3 } {
        let mut gateway = setup.start().await;
        assert!(
            serving(&gateway).await.is_some(),
            "something serves after every kill"
        );
        let next = variant(if round % 2 == 0 { V2 } else { V1 }, round);
        gateway.dir.place("example", &next);
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 15)).await;
        if round % 3 == 2 {
            let _ = plugin(&gateway, &["rollback", "example"]).await;
        }
        gateway.kill().await;
        gateway.log.wait_for_end().await;
        gateway.log.assert_no_panic();
    }
    let gateway = setup.start().await;
    let status = status(&gateway).await;
    assert!(status["problem"].is_null(), "{status}");
    assert!(!status["generation"].is_null(), "{status}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    not(feature = "test-all"),
    ignore = "answers while it compiles have to be fast: `just test-all`"
)]
async fn a_compile_bomb_costs_the_process_that_serves_nothing() {
    let gateway = setup().table("plugins", "compile_time = \"8s\"").start().await;
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    assert_eq!(browser.authorize(&token, "example").await.0, StatusCode::OK);
    let before = gateway.peak_memory();
    gateway.dir.place("example", COMPILE_BOMB);
    let started = Instant::now();
    let (mut answers, mut slowest) = (0, Duration::ZERO);
    loop {
        let asked = Instant::now();
        assert_eq!(browser.authorize(&token, "example").await.0, StatusCode::OK);
        slowest = slowest.max(asked.elapsed());
        answers += 1;
        if answers % 10 == 0 && !status(&gateway).await["problem"].is_null() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "it never ends");
    }
    let took = started.elapsed();
    let problem = status(&gateway).await["problem"].to_string();
    assert!(problem.contains("compiling it takes"), "{problem}");
    let grown = gateway.peak_memory() - before;
    println!(
        "{answers} answers in {took:?}, the slowest {slowest:?}; grown by {} KiB; {problem}",
        grown >> 10
    );
    assert!(grown < 64 << 20, "grown by {} MiB", grown >> 20);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    eventually("the compiler is gone", async || {
        children(&gateway).is_empty().then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compiler_has_a_memory_limit() {
    let gateway = setup()
        .table("plugins", "compile_memory = \"192MiB\"")
        .start()
        .await;
    assert_eq!(
        serving(&gateway).await,
        Some((1, digest(V1))),
        "it is enough for most"
    );
    gateway.dir.place("example", COMPILE_BOMB);
    wait_for_problem(&gateway, "takes more than 201326592 bytes").await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compiler_ends_with_its_gateway() {
    let mut gateway = setup().start().await;
    gateway.dir.place("example", COMPILE_BOMB);
    let compiler = eventually("it compiles", async || {
        let compiler = children(&gateway).pop()?;
        // A compiler that still reads would end when its input does.
        (ticks(&compiler)? >= 20).then_some(compiler)
    })
    .await;
    gateway.kill().await;
    let (before, mut after) = (ticks(&compiler), None);
    eventually("the compiler is gone", async || {
        after = ticks(&compiler).or(after);
        let stat = fs::read_to_string(format!("/proc/{compiler}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    })
    .await;
    // It noticed, and did not finish compiling, which takes many seconds of processor time.
    let used = after
        .zip(before)
        .map_or(0, |(after, before)| after.saturating_sub(before));
    assert!(used < 500, "it went on for {used} hundredths of a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_compiler_affects_only_its_file() {
    let gateway = setup().start().await;
    gateway.dir.place("example", COMPILE_BOMB);
    let compiler = eventually("it compiles", async || children(&gateway).pop()).await;
    let pid = Pid::from_raw(compiler.parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    wait_for_problem(&gateway, "the compiler ended with signal: 9").await;
    gateway.dir.place("example", V2);
    wait_for(&gateway, V2).await;
    gateway.stop().await;
}

/// Processor time of a process in hundredths of a second: proc_pid_stat(5), fields 14 and 15.
fn ticks(process: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

/// The process ids of a gateway's children.
fn children(gateway: &Gateway) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let lists = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    all.iter()
        .flat_map(|list| list.split_whitespace())
        .map(str::to_owned)
        .collect()
}

/// Signs a component with a key. Returns the public key.
async fn sign(private: &Path, file: &Path) -> String {
    let mut sign = cli::command();
    sign.args(["plugin", "sign", "--key"]).arg(private).arg(file);
    cli::finish(sign).await.succeeded()
}

/// Makes a key. Returns the files of its private and its public half.
async fn key(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let keys = dir.join(name);
    let mut generate = cli::command();
    generate
        .args(["keys", "generate", "--algorithm", "eddsa", "--out"])
        .arg(&keys);
    cli::finish(generate).await.succeeded();
    let private = fs::read_dir(&keys).unwrap().flatten().next().unwrap().path();
    let something = dir.join("something");
    fs::write(&something, "something").unwrap();
    let public = keys.with_extension("pub.pem");
    fs::write(&public, sign(&private, &something).await).unwrap();
    (private, public)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_signed_plugins_serve_if_trusted_keys_are_configured() {
    let base = setup();
    let one = key(base.dir.path(), "one").await;
    let other = key(base.dir.path(), "other").await;
    let trusting = |public: &Path| {
        let line = format!("trusted_keys = [{public:?}]");
        base.clone().table("plugins", &line)
    };
    let file = base.dir.plugin_file("example");

    let gateway = trusting(&one.1).start().await;
    assert_eq!(serving(&gateway).await, None, "there is no signature");
    wait_for_problem(&gateway, "gateway plugin sign").await;
    sign(&other.0, &file).await;
    wait_for_problem(&gateway, "is not a signature of").await;
    sign(&one.0, &file).await;
    wait_for(&gateway, V1).await;

    // A new file with the old one's signature.
    gateway.dir.place("example", V2);
    wait_for_problem(&gateway, &digest(V2)).await;
    assert_eq!(serving(&gateway).await.unwrap().1, digest(V1));
    sign(&one.0, &file).await;
    wait_for(&gateway, V2).await;

    // The key is no longer trusted: nothing that it signed serves, not even after a rollback.
    trusting(&other.1).write();
    gateway.reload().await;
    assert_eq!(serving(&gateway).await, None);
    let refused = plugin(&gateway, &["rollback", "example"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    // A list without keys, or with an unreadable one, is a mistake and changes nothing.
    for mistaken in ["[]", "[\"/nonexistent.pem\"]"] {
        let line = format!("trusted_keys = {mistaken}");
        base.clone().table("plugins", &line).write();
        let said = gateway.reload().await;
        assert!(said.contains("plugins.trusted_keys"), "{said}");
        assert_eq!(serving(&gateway).await, None);
    }
    gateway.stop().await;
    let gateway = trusting(&other.1).start().await;
    assert_eq!(serving(&gateway).await, None, "nor after a restart");
    sign(&other.0, &file).await;
    wait_for(&gateway, V2).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_pin_is_reported_with_both_digests() {
    let pin = format!("sha256 = \"{}\"", digest(V2).to_uppercase());
    let gateway = setup().plugin_table("example", &pin).start().await;
    assert_eq!(serving(&gateway).await, None);
    for bytes in [V1, V2] {
        wait_for_problem(&gateway, &digest(bytes)).await;
    }
    gateway.dir.place("example", V2);
    wait_for(&gateway, V2).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_modified_generation_cannot_be_rolled_back_to() {
    let setup = setup();
    let gateway = setup.start().await;
    gateway.dir.place("example", V2);
    wait_for(&gateway, V2).await;
    gateway.stop().await;
    let kept = format!("cache/{}.component", digest(V1));
    let kept = setup.dir.data_dir().join(kept);
    let mut bytes = fs::read(&kept).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&kept, bytes).unwrap();
    let gateway = setup.start().await;
    let refused = plugin(&gateway, &["rollback", "example"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("damaged"), "{}", refused.stderr);
    assert_eq!(serving(&gateway).await, Some((2, digest(V2))));
    gateway.stop().await;
}
