//! Fetches a provider's metadata and keys, and caches them: for an hour, and for a day while the provider does not
//! answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_model::{Clock, Timestamp};
use tokio::sync::Mutex;
use url::Url;

use super::metadata::{Metadata, bad};
use crate::error::UpstreamError;
use crate::exchange::Client;
use crate::http::Http;
use crate::jws::KeySet;
use crate::logout::KEYS_ASKED_AGAIN;
use crate::text::plain;

const DOCUMENT: &str = "discovery";
const KEYS: &str = "the key set (`jwks_uri`)";
/// How long metadata and keys are fresh.
// defence: withdrawn-keys-are-forgotten (a test fails without it: docs/defences.md)
const FRESH: Duration = Duration::from_secs(3600);
/// How long the cache is used while the provider does not answer. A key withdrawn in that time stays valid as long.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// The time between two requests when a token's key is unknown, which anyone can cause, or after a failure.
const AGAIN: Duration = Duration::from_secs(KEYS_ASKED_AGAIN);

/// The most rejected keys that the log names.
const SHOWN: usize = 5;

/// The metadata and keys of a provider, shared by all sign-ins because there may be many keys.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) metadata: Metadata,
    pub(crate) keys: KeySet,
}

#[derive(Debug)]
pub(crate) struct Discovery {
    /// The provider's name in the configuration, for the log.
    provider: String,
    pub(crate) issuer: String,
    /// The URL of the metadata, if not below the issuer.
    url: Option<Url>,
    http: Http,
    clock: Arc<dyn Clock>,
    /// Held during a request. Concurrent callers wait for the same answer or failure, so that users of a provider that
    /// hangs do not wait one after the other.
    state: Mutex<State>,
    /// The number of answers so far.
    answers: AtomicU64,
}

/// A token whose key is unknown. Each kind has its own limit on fetching keys, so that made-up logout tokens cannot
/// keep users from signing in with a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// From the provider's token endpoint.
    Id,
    /// From anyone.
    Logout,
}

#[derive(Debug, Default)]
struct State {
    known: Option<(Timestamp, Arc<Known>)>,
    /// A failure since then.
    failure: Option<(Timestamp, UpstreamError)>,
    /// The last early fetch because of an ID token.
    for_id_token: Option<Timestamp>,
    /// The last early fetch because of a logout token.
    for_logout_token: Option<Timestamp>,
    /// The last fetch of the keys alone.
    new_keys: Option<Timestamp>,
}

/// Whether `at` is at most `age` ago. If the clock was set back, it is not.
fn is_within(at: Timestamp, now: Timestamp, age: Duration) -> bool {
    at <= now && now < at.after(age)
}

impl State {
    /// The cached metadata and keys, if they are younger than `age`.
    fn known(&self, now: Timestamp, age: Duration) -> Option<Arc<Known>> {
        let (at, known) = self.known.as_ref()?;
        is_within(*at, now, age).then(|| Arc::clone(known))
    }

    /// The last early fetch because of such a token.
    fn again(&mut self, token: Token) -> &mut Option<Timestamp> {
        match token {
            Token::Id => &mut self.for_id_token,
            Token::Logout => &mut self.for_logout_token,
        }
    }

    /// The last failure, if it is recent.
    fn failure(&self, now: Timestamp) -> Option<&UpstreamError> {
        let (at, error) = self.failure.as_ref()?;
        is_within(*at, now, AGAIN).then_some(error)
    }
}

/// Whether only the metadata could not be fetched, so that the keys may still be at the known URL.
fn is_of_document(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Http { what, .. } if *what == DOCUMENT)
}

impl Discovery {
    pub(crate) fn new(client: &Client, issuer: String, http: Http) -> Self {
        Self {
            provider: client.config.name.clone(),
            issuer,
            url: client.config.discovery.clone(),
            http,
            clock: Arc::clone(&client.clock),
            state: Mutex::default(),
            answers: AtomicU64::new(0),
        }
    }

    /// The URL of the metadata (Discovery 1.0 section 4).
    pub(crate) fn url(&self) -> String {
        match &self.url {
            Some(url) => url.to_string(),
            None => {
                let base = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
                format!("{base}/.well-known/openid-configuration")
            }
        }
    }

    /// Returns the cached metadata and keys, or fetches them. If that fails, those of the last day are used.
    pub(crate) async fn known(&self) -> Result<Arc<Known>, UpstreamError> {
        let before = self.answers.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        if let Some(known) = state.known(now, FRESH) {
            return Ok(known);
        }
        let stale = state.known(now, STALE);
        let waited_for = self.answers.load(Ordering::Acquire) != before;
        // A failure is remembered only if stale metadata can be used in the meantime.
        let failed = match &state.failure {
            Some((_, error)) if waited_for => Some(error.clone()),
            _ if stale.is_some() => state.failure(now).cloned(),
            _ => None,
        };
        if let Some(error) = failed {
            return stale.ok_or(error);
        }
        match (self.ask(&mut state).await, stale) {
            (Err(error), Some(known)) => {
                tracing::warn!(
                    provider = self.provider, %error,
                    "cannot fetch the upstream provider's metadata and keys; the gateway uses those of the last day"
                );
                Ok(known)
            }
            (answer, _) => answer,
        }
    }

    /// Fetches metadata and keys early because a token's key is unknown: the provider may have rotated its keys during
    /// a sign-in. Anyone can make up a key, so this happens at most twice a minute for each kind of token.
    pub(crate) async fn again(&self, token: Token) -> Result<Arc<Known>, UpstreamError> {
        let before = self.answers.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let waited_for = self.answers.load(Ordering::Acquire) != before;
        let last = *state.again(token);
        let was_asked = last.is_some_and(|at| is_within(at, now, AGAIN));
        let failed = match &state.failure {
            Some((_, error)) if waited_for || state.failure(now).is_some() => Some(error.clone()),
            _ => None,
        };
        if let Some(error) = failed {
            let Some(known) = state.known(now, STALE).filter(|_| is_of_document(&error)) else {
                return Err(error);
            };
            if state.new_keys.is_some_and(|at| is_within(at, now, AGAIN)) {
                return Ok(known);
            }
            if was_asked {
                return Err(error);
            }
            *state.again(token) = Some(now);
            return self.new_keys(&mut state, &known).await.ok_or(error);
        }
        if (waited_for || was_asked)
            && let Some(known) = state.known(now, FRESH)
        {
            return Ok(known);
        }
        *state.again(token) = Some(now);
        match (self.ask(&mut state).await, state.known(now, STALE)) {
            (Err(error), Some(known)) if is_of_document(&error) => {
                self.new_keys(&mut state, &known).await.ok_or(error)
            }
            (answer, _) => answer,
        }
    }

    /// Fetches the keys from the known URL while the metadata cannot be fetched. That does not make the metadata fresh.
    async fn new_keys(&self, state: &mut State, known: &Known) -> Option<Arc<Known>> {
        let keys = self.keys(&known.metadata).await.ok()?;
        self.warn_of_keys(Some(&known.keys), &keys);
        let known = Arc::new(Known {
            metadata: known.metadata.clone(),
            keys,
        });
        if let Some((_, before)) = &mut state.known {
            *before = Arc::clone(&known);
        }
        state.new_keys = Some(self.clock.now());
        Some(known)
    }

    async fn ask(&self, state: &mut State) -> Result<Arc<Known>, UpstreamError> {
        let answer = self.answer().await.map(Arc::new);
        let now = self.clock.now();
        match &answer {
            Ok(known) => {
                self.warn_of_keys(state.known.as_ref().map(|(_, before)| &before.keys), &known.keys);
                state.known = Some((now, Arc::clone(known)));
                state.failure = None;
            }
            Err(error) => state.failure = Some((now, error.clone())),
        }
        self.answers.fetch_add(1, Ordering::Release);
        answer
    }

    /// Logs the keys that are not used, once for each change: tokens signed with them are rejected.
    fn warn_of_keys(&self, before: Option<&KeySet>, keys: &KeySet) {
        let skipped = keys.of_bad_size();
        if skipped.is_empty() || before.is_some_and(|before| before.of_bad_size() == skipped) {
            return;
        }
        let (count, shown) = (skipped.len(), skipped.get(..SHOWN).unwrap_or(&skipped).join("; "));
        tracing::warn!(
            provider = self.provider,
            count,
            keys = shown,
            "some keys of the provider are not used: RSA keys must have 2048 to 4096 bits and an exponent of at most 32 bits"
        );
    }

    async fn answer(&self) -> Result<Known, UpstreamError> {
        let document = self.get(DOCUMENT, &self.url()).await?;
        let metadata = Metadata::read(&document)?;
        if metadata.issuer != self.issuer {
            return Err(bad(&format!(
                "the issuer is {}, not {}: both must be identical (Discovery 1.0 section 4.3)",
                plain(&metadata.issuer),
                self.issuer
            )));
        }
        metadata.check_endpoints(&self.http)?;
        let keys = self.keys(&metadata).await?;
        Ok(Known { metadata, keys })
    }

    async fn keys(&self, metadata: &Metadata) -> Result<KeySet, UpstreamError> {
        let keys = self.get(KEYS, metadata.jwks_uri.as_str()).await?;
        KeySet::read(&keys).map_err(|problem| bad(&problem.to_string()))
    }

    async fn get(&self, what: &'static str, url: &str) -> Result<Vec<u8>, UpstreamError> {
        let requests = self.http.requests();
        let answer = requests
            .get(what, url, &[("accept", "application/json")], None)
            .await?;
        Ok(answer.into_body())
    }
}
