//! A store in its own directory, with a stopped clock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::clock::ManualClock;
use gateway_model::{
    Email, Event, Identity, Session, SystemRandom, Timestamp, UpstreamUser, User, UserId, UserLimits, Verdict,
};
use gateway_store::{
    DatabaseUrl, OpenError, PendingSignIn, Settled, Store, StoreError, StoreOptions, UserIds,
};
use serde_json::{Map, json};
use tempfile::TempDir;

pub(crate) const LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);
pub(crate) const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// After so much running, pruning believes any clock.
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much longer than they are good sessions, states and values are kept.
pub(crate) const GRACE: Duration = Duration::from_secs(2 * 24 * 3600);
pub(crate) const NOW: u64 = 1_790_000_000;

/// A store, its directory and its clock.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) directory: TempDir,
    user_ids: UserIds,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_ids(UserIds::Random).await
    }

    pub(crate) async fn with_ids(user_ids: UserIds) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let url = DatabaseUrl::File(directory.path().join("gateway.db"));
        let store = Store::open(&url, options(&clock, user_ids)).await.unwrap();
        Self {
            store,
            clock,
            directory,
            user_ids,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("gateway.db")
    }

    /// One more store on a file, as another process would have it.
    pub(crate) async fn open(&self, path: PathBuf) -> Store {
        Store::open(&DatabaseUrl::File(path), options(&self.clock, self.user_ids))
            .await
            .unwrap()
    }

    /// The same, where it may be refused.
    pub(crate) async fn try_open(&self, path: PathBuf) -> Result<Store, OpenError> {
        Store::open(&DatabaseUrl::File(path), options(&self.clock, self.user_ids)).await
    }

    /// A raw connection, to look at what is really there.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Changes the file by hand.
    pub(crate) fn execute(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.execute(sql, []).unwrap();
    }

    pub(crate) async fn begin(&self, person: &UpstreamUser) -> PendingSignIn {
        self.store.begin_sign_in(person).await.unwrap()
    }

    pub(crate) async fn settle(
        &self,
        pending: &PendingSignIn,
        new_user: Option<&Verdict>,
        login: Option<&Verdict>,
    ) -> Settled {
        self.store
            .settle_sign_in(pending, new_user, login, LIFETIME)
            .await
            .unwrap()
    }

    /// A whole sign-in that every hook accepts.
    pub(crate) async fn sign_in(&self, person: &UpstreamUser) -> (User, Session) {
        let pending = self.begin(person).await;
        let new_user = pending.new_user.as_ref().map(|_| accepted(&[]));
        match self
            .settle(&pending, new_user.as_ref(), Some(&accepted(&[])))
            .await
        {
            Settled::SignedIn { user, session } => (user, session),
            other => panic!("not signed in: {other:?}"),
        }
    }

    /// Every sign-in's event without a verdict, the oldest first.
    pub(crate) async fn pending_events(&self) -> Vec<(Event, User)> {
        pending_events(&self.store).await
    }

    pub(crate) async fn user(&self, id: &UserId) -> Option<User> {
        self.store.lookup_user(id).await.unwrap()
    }
}

pub(crate) fn options(clock: &Arc<ManualClock>, user_ids: UserIds) -> StoreOptions {
    StoreOptions {
        clock: Arc::<ManualClock>::clone(clock),
        random: Arc::new(SystemRandom),
        user_ids,
        event_retention: RETENTION,
        limits: UserLimits::default(),
    }
}

/// Every sign-in's event without a verdict, the oldest first.
pub(crate) async fn pending_events(store: &Store) -> Vec<(Event, User)> {
    let (mut place, mut events) = (0, Vec::new());
    while let Some((found, event, user)) = store.next_pending_sign_in(place, i64::MAX).await.unwrap() {
        place = found;
        events.push((event, user));
    }
    events
}

/// `google` and `github` are trusted for email, `forum` is not.
pub(crate) fn trusted(provider: &str) -> bool {
    provider != "forum"
}

/// Somebody, as `provider` describes them; `email`, where there is one, is verified.
pub(crate) fn person(provider: &str, subject: &str, email: Option<&str>) -> UpstreamUser {
    let claims: Map<_, _> = [("sub".to_owned(), json!(subject))].into_iter().collect();
    UpstreamUser {
        identity: Identity {
            provider: provider.into(),
            issuer: format!("https://{provider}.example"),
            subject: subject.into(),
        },
        email: email.map(|address| Email {
            address: address.into(),
            trusted: trusted(provider),
        }),
        name: format!("{subject} of {provider}"),
        avatar_url: None,
        claims: claims.into(),
        session: gateway_model::UpstreamSession::default(),
    }
}

pub(crate) fn accepted(attributes: &[(&str, &str)]) -> Verdict {
    let owned = attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Verdict::Accepted(owned.collect::<BTreeMap<_, _>>())
}

pub(crate) fn rejected(reason: &str) -> Verdict {
    Verdict::Rejected {
        hook: "domains".into(),
        reason: reason.into(),
    }
}

pub(crate) fn failed() -> Verdict {
    Verdict::Failed {
        hook: "domains".into(),
        error: "trap: unreachable".into(),
    }
}

pub(crate) fn no(reason: &str) -> Settled {
    Settled::Rejected {
        reason: reason.into(),
    }
}

/// Claims a state and consumes it.
pub(crate) async fn consume_state(
    store: &Store,
    state: &str,
    expires: Timestamp,
) -> Result<bool, StoreError> {
    match store.claim_state(state, expires)? {
        Some(claimed) => claimed.consume().await,
        None => Ok(false),
    }
}
