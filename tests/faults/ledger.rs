//! Users who sign in and set usernames during a fault, and the answers that they got.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::task::JoinSet;

use support::browser::{client, token_in};
use support::cli::Ran;
use support::setup::SetupDir;
use support::{Gateway, eventually};

/// The answers that one user got.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) token: String,
    /// The username, if it was acknowledged.
    pub(crate) username: Option<String>,
}

/// The acknowledged users, by subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<BTreeMap<String, Acknowledged>>>);

/// Counts of requests and of their results. A request that was neither acknowledged nor rejected got no answer, because
/// the gateway was killed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asked: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Tally {
    /// Sent, acknowledged, rejected.
    pub(crate) fn numbers(&self) -> [u64; 3] {
        [&self.asked, &self.acknowledged, &self.refused].map(|number| number.load(Ordering::SeqCst))
    }
}

/// Callers at work. All of their users are new.
pub(crate) struct Crowd {
    callers: JoinSet<()>,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
}

impl Ledger {
    /// Starts `callers`, each of which signs users in, one after the other, and sets their usernames.
    ///
    /// Every answer must be an acknowledgement, or 503 with `Retry-After`.
    pub(crate) fn crowd(&self, gateway: &Gateway, name: &str, callers: u32) -> Crowd {
        let mut crowd = Crowd {
            callers: JoinSet::new(),
            stop: Arc::default(),
            tally: Arc::default(),
        };
        for caller in 0..callers {
            let prefix = format!("{name}-{}", letter(caller));
            let caller = Caller {
                client: client(),
                base: format!("http://{}/auth", gateway.address),
                ledger: self.clone(),
                tally: Arc::clone(&crowd.tally),
            };
            let stop = Arc::clone(&crowd.stop);
            crowd.callers.spawn(async move {
                for person in 0.. {
                    if stop.load(Ordering::SeqCst)
                        || caller.serve(&format!("{prefix}{person}")).await.is_none()
                    {
                        return;
                    }
                }
            });
        }
        crowd
    }

    /// All users who got an acknowledgement.
    pub(crate) fn people(&self) -> BTreeMap<String, Acknowledged> {
        self.0.lock().unwrap().clone()
    }

    /// A copy of the acknowledgements up to now.
    pub(crate) fn snapshot(&self) -> Self {
        Self(Arc::new(Mutex::new(self.people())))
    }

    /// Fails unless every acknowledged session is valid, and every acknowledged username is set.
    pub(crate) async fn assert_served(&self, gateway: &Gateway) {
        let browser = gateway.browser();
        for (person, told) in self.people() {
            let answer = browser.check(&told.token).await;
            assert_eq!(
                answer["authenticated"], true,
                "{person} was given a session and it is lost"
            );
            if let Some(username) = told.username {
                assert_eq!(
                    answer["profile"]["username"],
                    username.as_str(),
                    "{person}'s username"
                );
            }
        }
    }

    /// Fails unless the database has them too, according to the command line. Returns all users by their subject.
    pub(crate) async fn assert_stored(&self, dir: &SetupDir, database: &[&str]) -> BTreeMap<String, Value> {
        let run = async |command: &[&str]| -> Ran { dir.cli(&[command, database].concat()).await };
        let users = users(&run(&["user", "export"]).await.succeeded());
        let sessions = run(&["session", "list", "--json"]).await.succeeded();
        let sessions: Vec<Value> = serde_json::from_str(&sessions).expect("JSON");
        let sessions: BTreeMap<&str, &Value> = sessions
            .iter()
            .map(|session| (session["id"].as_str().expect("an id"), session))
            .collect();
        for (person, told) in self.people() {
            let user = users
                .get(&person)
                .unwrap_or_else(|| panic!("{person} was acknowledged and is lost"));
            if let Some(username) = told.username {
                assert_eq!(user["username"], username.as_str(), "{person}'s username is lost");
            }
            let claims = claims(&told.token);
            let session = claims["sid"].as_str().expect("a session's id");
            let session = sessions
                .get(session)
                .unwrap_or_else(|| panic!("{person} was given a session and it is lost"));
            assert_eq!(session["user_id"], user["id"], "{person}'s session");
        }
        users
    }
}

impl Crowd {
    /// Waits until the callers have `count` answers.
    pub(crate) async fn have_answers(&mut self, count: u64) {
        let tally = Arc::clone(&self.tally);
        eventually("they are answered", async || {
            // A caller that got a wrong answer has panicked.
            if let Some(ended) = self.callers.try_join_next() {
                ended.expect("every answer is one of the two");
            }
            let [_, acknowledged, refused] = tally.numbers();
            (acknowledged + refused >= count).then_some(())
        })
        .await;
    }

    /// The counts so far.
    pub(crate) fn numbers(&self) -> [u64; 3] {
        self.tally.numbers()
    }

    /// Lets each caller finish its current request. Returns the counts.
    pub(crate) async fn stop(self) -> [u64; 3] {
        self.stop.store(true, Ordering::SeqCst);
        self.until_gone().await
    }

    /// Waits until the gateway is gone. Returns the counts.
    pub(crate) async fn until_gone(mut self) -> [u64; 3] {
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("every answer is one of the two");
        }
        self.tally.numbers()
    }
}

struct Caller {
    client: reqwest::Client,
    base: String,
    ledger: Ledger,
    tally: Arc<Tally>,
}

impl Caller {
    /// Signs in, and then sets a username. `None` if the gateway is gone.
    async fn serve(&self, person: &str) -> Option<()> {
        let request = self.client.get(format!("{}/login/dev?user={person}", self.base));
        let answer = self.ask(request).await?;
        if self.is_refused(&answer) {
            return Some(());
        }
        let token = token_in(&answer);
        self.acknowledged(person, token.clone(), None);

        let request = self
            .client
            .post(format!("{}/update?username={person}", self.base));
        let answer = self.ask(request.bearer_auth(&token)).await?;
        if self.is_refused(&answer) {
            return Some(());
        }
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = answer.json().await.ok()?;
        assert_eq!(answer["success"], true, "{person}: {answer}");
        self.acknowledged(person, token, Some(person.to_owned()));
        Some(())
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Option<Response> {
        self.tally.asked.fetch_add(1, Ordering::SeqCst);
        match request.send().await {
            Ok(answer) => Some(answer),
            Err(error) => {
                assert!(!error.is_timeout(), "no answer: {error}");
                None
            }
        }
    }

    fn is_refused(&self, answer: &Response) -> bool {
        let refused = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        if refused {
            assert!(
                answer.headers().contains_key(RETRY_AFTER),
                "503 without Retry-After"
            );
            self.tally.refused.fetch_add(1, Ordering::SeqCst);
        }
        refused
    }

    fn acknowledged(&self, person: &str, token: String, username: Option<String>) {
        let told = Acknowledged { token, username };
        self.ledger.0.lock().unwrap().insert(person.to_owned(), told);
        self.tally.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

fn letter(number: u32) -> char {
    char::from_digit(number + 10, 36).expect("few callers")
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("a JWT");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    serde_json::from_slice(&claims).expect("JSON")
}

/// The output of `user export`, by subject.
pub(crate) fn users(export: &str) -> BTreeMap<String, Value> {
    let users = export
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    users
        .map(|user: Value| {
            let subject = user["identities"][0]["subject"].as_str().expect("a subject");
            (subject.to_owned(), user)
        })
        .collect()
}
