//! Asks a provider about itself and for its keys, and keeps the answer: for an hour, and while the provider does not answer
//! for a day.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_model::{Clock, Timestamp};
use http::header::ACCEPT;
use http::{Request, StatusCode};
use tokio::sync::Mutex;
use url::Url;

use super::metadata::{Metadata, bad};
use crate::error::UpstreamError;
use crate::http::{Http, HttpError};
use crate::jws::{Algorithm, KeySet};
use crate::logout::KEYS_ASKED_AGAIN;
use crate::text::plain;

const DOCUMENT: &str = "discovery";
const KEYS: &str = "the key set (`jwks_uri`)";
/// How long what a provider says of itself is believed.
// defence: withdrawn-keys-are-forgotten (a test fails without it: docs/defences.md)
const FRESH: Duration = Duration::from_secs(3600);
/// How long it is believed while the provider cannot be asked. A key that was withdrawn meanwhile counts for as long.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// How soon it is asked again where a token's key is unknown, which anybody can make up, or where it did not answer.
const AGAIN: Duration = Duration::from_secs(KEYS_ASKED_AGAIN);

/// How many keys that are not used are named in the log.
const SHOWN: usize = 5;

/// A provider that is known. Made once for each answer of it and shared by all sign-ins: it may have many keys.
#[derive(Debug)]
pub(crate) struct Known {
    /// What it says of itself.
    pub(crate) metadata: Metadata,
    /// The keys that it publishes.
    pub(crate) keys: KeySet,
}

impl Known {
    /// The algorithms that it may sign ID tokens with.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        self.metadata.algorithms.clone()
    }
}

/// Asks one provider about itself.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// The provider's name in the configuration, for the log.
    provider: String,
    issuer: String,
    /// Where the document is, if not below the issuer.
    url: Option<Url>,
    http: Http,
    clock: Arc<dyn Clock>,
    /// Held while asking: whoever comes meanwhile waits for the same answer, a failure included, so that
    /// a provider that hangs does not make people wait one after the other.
    state: Mutex<State>,
    /// How many answers there have been.
    answers: AtomicU64,
}

/// A token whose key is unknown. Each kind has a share of its own, so that nobody who sends logout tokens keeps people from
/// signing in with a key that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The provider has just given it to us.
    Id,
    /// Somebody has sent it.
    Logout,
}

/// The last answers of each kind.
#[derive(Debug, Default)]
struct State {
    known: Option<(Timestamp, Arc<Known>)>,
    /// The failure that came after what is known.
    failure: Option<(Timestamp, UpstreamError)>,
    /// When the provider was last asked although what was known was fresh, because of an ID token.
    for_id_token: Option<Timestamp>,
    /// The same because of a logout token, which anybody can send.
    for_logout_token: Option<Timestamp>,
    /// When it was last asked for its keys alone.
    new_keys: Option<Timestamp>,
}

impl State {
    /// What is known, if it is younger than this. A clock that was set back makes nothing young again.
    fn known(&self, now: Timestamp, age: Duration) -> Option<Arc<Known>> {
        let (at, known) = self.known.as_ref()?;
        (*at <= now && now < at.after(age)).then(|| Arc::clone(known))
    }

    /// When the provider was last asked again because of such a token.
    fn again(&mut self, token: Token) -> &mut Option<Timestamp> {
        match token {
            Token::Id => &mut self.for_id_token,
            Token::Logout => &mut self.for_logout_token,
        }
    }

    /// Whether its keys are those of a moment ago although it does not say where they are.
    fn has_new_keys(&self, now: Timestamp) -> bool {
        self.new_keys.is_some_and(|at| at <= now && now < at.after(AGAIN))
    }

    /// Why the provider did not answer a moment ago.
    fn failure(&self, now: Timestamp) -> Option<&UpstreamError> {
        let (at, error) = self.failure.as_ref()?;
        (*at <= now && now < at.after(AGAIN)).then_some(error)
    }
}

/// Whether a provider could not be asked about itself, so that its keys may be where they were.
fn is_of_document(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Http { what, .. } if *what == DOCUMENT)
}

impl Discovery {
    pub(crate) fn new(
        provider: String,
        issuer: String,
        url: Option<Url>,
        http: Http,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            provider,
            issuer,
            url,
            http,
            clock,
            state: Mutex::default(),
            answers: AtomicU64::new(0),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where the provider describes itself (Discovery 1.0 section 4).
    pub(crate) fn url(&self) -> String {
        match &self.url {
            Some(url) => url.to_string(),
            None => {
                let base = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
                format!("{base}/.well-known/openid-configuration")
            }
        }
    }

    /// What is known, or else asked now. Where the provider cannot be asked, what was known in the last day.
    pub(crate) async fn known(&self) -> Result<Arc<Known>, UpstreamError> {
        let before = self.answers.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        if let Some(known) = state.known(now, FRESH) {
            return Ok(known);
        }
        let stale = state.known(now, STALE);
        let waited_for = self.answers.load(Ordering::Acquire) != before;
        // Without anything to go by instead, a failure is not remembered: it may be over.
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
                    "the upstream provider cannot be asked for its metadata and keys; those it published within the last \
                     day are used"
                );
                Ok(known)
            }
            (answer, _) => answer,
        }
    }

    /// What is asked now, because a key is unknown: the provider may have replaced its keys while somebody was on the way.
    /// Anybody can make a key up, so it is asked for that reason twice a minute at most for each kind of token.
    pub(crate) async fn again(&self, token: Token) -> Result<Arc<Known>, UpstreamError> {
        let before = self.answers.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let waited_for = self.answers.load(Ordering::Acquire) != before;
        let last = *state.again(token);
        let was_asked = last.is_some_and(|at| at <= now && now < at.after(AGAIN));
        let failed = match &state.failure {
            Some((_, error)) if waited_for || state.failure(now).is_some() => Some(error.clone()),
            _ => None,
        };
        if let Some(error) = failed {
            let Some(known) = state.known(now, STALE).filter(|_| is_of_document(&error)) else {
                return Err(error);
            };
            if state.has_new_keys(now) {
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

    /// The keys that are now where the provider last said that they are, while it cannot be asked about itself. What it said
    /// is no younger for that.
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

    /// Says which keys are not used, once for each change: what they sign is refused.
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
            "keys of the provider are not used: RSA keys must have 2048 to 4096 bits and an exponent of at most 32 bits"
        );
    }

    async fn answer(&self) -> Result<Known, UpstreamError> {
        let document = self.get(DOCUMENT, &self.url()).await?;
        let metadata = Metadata::read(&document)?;
        if metadata.issuer != self.issuer {
            return Err(bad(&format!(
                "the issuer is {}, not {}: the two must be the same to the letter (Discovery 1.0 section 4.3)",
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
        let failed = |error| UpstreamError::Http { what, error };
        let request = Request::get(url)
            .header(ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|_| bad("an address cannot be asked"))?;
        let answer = self.http.requests().send(request).await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(failed(HttpError::Status(answer.status().as_u16())));
        }
        Ok(answer.into_body())
    }
}
