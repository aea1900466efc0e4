//! The paths whose instructions are counted, each with what it needs.

use std::hint::black_box;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gateway_devkit::{BenchLimits, Made, Question, Workbench, WorkbenchOptions};
use gateway_model::clock::CountingRandom;
use gateway_model::{
    Identity, PermissionMap, Session, SystemClock, SystemRandom, Timestamp, UpstreamUser, User, UserId,
    UserLimits, UserStatus, Verdict,
};
use gateway_sandbox::{Grant, Limits, PluginConfig};
use gateway_store::{DatabaseUrl, Settled, Store, StoreOptions, UserIds};
use gateway_token::{PermissionClaims, SessionClaims, SessionKey, SigningKeys};
use hyper::StatusCode;
use serde::Serialize;
use serde_json::json;

const ISSUER: &str = "https://auth.example.org";
const USER: &str = "0123456789abcdef0123456789abcdef";
const NOW: Timestamp = Timestamp(1_790_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A day: valgrind takes its time.
const DEADLINE: Duration = DAY;

// Always the same keys: how much an RSA key computes depends on it.
const RSA: &str = include_str!("../../../token/tests/keys/rsa2048-pkcs8.pem");
const ED25519: &str = include_str!("../../../token/tests/keys/rfc8037-pkcs8.pem");

/// Something that happens at every request, or nearly.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// The number of runs in each of the two processes.
    pub(crate) times: (usize, usize),
    /// Compiles something that is kept for the next.
    pub(crate) compiles: bool,
}

const fn path(name: &'static str, few: usize, many: usize) -> Path {
    Path {
        name,
        times: (few, many),
        compiles: false,
    }
}

pub(crate) const PATHS: &[Path] = &[
    path("verify-session-token", 50, 1050),
    path("session-kept", 50, 10_050),
    path("session-not-kept", 50, SESSIONS),
    path("sign-eddsa", 5, 55),
    // Enough for aws-lc to renew its blinding twice: it does so at every 32nd signature.
    path("sign-rs256", 10, 74),
    path("authorize-json", 50, 550),
    Path {
        name: "plugin-call-fresh",
        times: (20, 120),
        compiles: true,
    },
];

/// People in the database: each is looked up once.
const SESSIONS: usize = 1050;

/// Makes the database that all paths share.
pub(crate) async fn prepare(directory: &FilePath) -> Result<()> {
    let store = open(directory).await?;
    for number in 0..SESSIONS {
        sign_in(&store, number).await?;
    }
    store.close().await?;
    Ok(())
}

/// Runs a path `times` times.
pub(crate) async fn go(name: &str, times: usize, directory: &FilePath) -> Result<()> {
    match name {
        "verify-session-token" => verify(times),
        "session-kept" => look_up_one(times, directory).await,
        "session-not-kept" => look_up_each(times, directory).await,
        "sign-eddsa" => sign(ED25519, times),
        "sign-rs256" => sign(RSA, times),
        "authorize-json" => authorize_json(times),
        "plugin-call-fresh" => call(times, directory).await,
        other => bail!("there is no path {other:?}"),
    }
}

fn verify(times: usize) -> Result<()> {
    let key = SessionKey::derive(&[7; 32], ISSUER, Arc::new(SystemRandom))?;
    let claims = SessionClaims {
        session: "fedcba9876543210fedcba9876543210".into(),
        user: USER.into(),
        expires: NOW.after(DAY),
    };
    let token = key.issue(&claims, NOW);
    for _ in 0..times {
        black_box(key.verify(black_box(&token), NOW)?);
    }
    Ok(())
}

fn sign(pem: &str, times: usize) -> Result<()> {
    let keys = SigningKeys::from_pems(&[pem.into()], &[])?;
    let claims = permission_claims();
    for _ in 0..times {
        black_box(keys.sign(black_box(&claims))?);
    }
    Ok(())
}

/// The claims that a role provider's answer leads to.
fn permission_claims() -> PermissionClaims {
    let permissions = [
        ("areas", json!(["users", "billing"])),
        ("edit", json!(true)),
        ("quota", json!(100)),
        ("read", json!(true)),
    ];
    let permissions = permissions.map(|(name, value)| (name.to_owned(), value.into()));
    PermissionClaims {
        iss: ISSUER.to_owned(),
        sub: USER.to_owned(),
        userid: USER.to_owned(),
        service: "wiki".to_owned(),
        permissions: permissions.into_iter().collect(),
        aud: None,
        plugin: "0".repeat(64),
        iat: NOW.0,
        exp: NOW.after(Duration::from_secs(900)).0,
    }
}

/// The members of `authorize`'s answer.
#[derive(Serialize)]
struct Answer<'a> {
    token: &'a str,
    userid: &'a str,
    permissions: &'a PermissionMap,
    service: &'a str,
}

fn authorize_json(times: usize) -> Result<()> {
    let claims = permission_claims();
    let token = SigningKeys::from_pems(&[ED25519.into()], &[])?.sign(&claims)?;
    for _ in 0..times {
        let answer = Answer {
            token: &token,
            userid: &claims.userid,
            permissions: &claims.permissions,
            service: &claims.service,
        };
        black_box(gateway::response::json(StatusCode::OK, black_box(&answer)));
    }
    Ok(())
}

async fn look_up_one(times: usize, directory: &FilePath) -> Result<()> {
    let store = open(directory).await?;
    let sessions = store.list_sessions(None).await?;
    let session = sessions.first().context("nobody is signed in")?;
    // Once more: the first time it is not kept yet.
    for _ in 0..=times {
        look_up(&store, session).await?;
    }
    Ok(())
}

async fn look_up_each(times: usize, directory: &FilePath) -> Result<()> {
    let store = open(directory).await?;
    let sessions = store.list_sessions(None).await?;
    ensure!(times <= sessions.len(), "there are {} sessions", sessions.len());
    for session in sessions.iter().take(times) {
        look_up(&store, session).await?;
    }
    Ok(())
}

async fn look_up(store: &Store, session: &Session) -> Result<()> {
    let found = store.lookup_session(&session.id, &session.user_id).await?;
    ensure!(black_box(found).is_some(), "the session is not there");
    Ok(())
}

async fn open(directory: &FilePath) -> Result<Store> {
    let options = StoreOptions {
        clock: Arc::new(SystemClock),
        // The same ids in every database, so that its trees have the same shape.
        random: Arc::new(CountingRandom::default()),
        user_ids: UserIds::Random,
        event_retention: DAY,
        limits: UserLimits::default(),
    };
    Ok(Store::open(&DatabaseUrl::File(directory.join("gateway.db")), options).await?)
}

async fn sign_in(store: &Store, number: usize) -> Result<()> {
    let person = UpstreamUser {
        identity: Identity {
            provider: "bench".to_owned(),
            issuer: "https://bench.example.org".to_owned(),
            subject: number.to_string(),
        },
        email: None,
        name: format!("Person {number}"),
        avatar_url: Some("https://img.example.org/a.png".to_owned()),
        claims: gateway_model::Claims::default(),
        session: gateway_model::UpstreamSession::default(),
    };
    let pending = store.begin_sign_in(&person).await?;
    let yes = Verdict::Accepted(Default::default());
    let settled = store
        .settle_sign_in(&pending, Some(&yes), Some(&yes), DAY)
        .await?;
    ensure!(
        matches!(settled, Settled::SignedIn { .. }),
        "nobody signed in: {settled:?}"
    );
    Ok(())
}

async fn call(times: usize, directory: &FilePath) -> Result<()> {
    let file = directory.join("roles.wasm");
    std::fs::write(&file, guest_examples::ROLES.wasm)?;
    let settings = [("default", "reader"), ("role.reader", "read")];
    let config = PluginConfig {
        grants: [Grant::Config, Grant::Users].into(),
        settings: settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        limits: Limits {
            deadline: DEADLINE,
            ..Limits::default()
        },
        ..PluginConfig::default()
    };
    let options = WorkbenchOptions {
        users: vec![ann()],
        cache_dir: Some(directory.join("compiled")),
        without_pool: true,
        ..WorkbenchOptions::default()
    };
    let workbench = Workbench::open(&file, config, options).await?;
    let question = Question::Permissions {
        service: "wiki".to_owned(),
        user: USER.into(),
    };
    let limits = BenchLimits {
        calls: times,
        time: Duration::MAX,
    };
    workbench.measure(question, Made::Fresh, limits).await?;
    Ok(())
}

fn ann() -> User {
    User {
        id: UserId::from(USER),
        username: None,
        name: "Ann".to_owned(),
        email: None,
        avatar_url: None,
        identities: Vec::new(),
        joined: NOW,
        status: UserStatus::Active,
        attributes: Default::default(),
    }
}
