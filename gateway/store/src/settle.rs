//! The end of a sign-in: the hooks' verdicts and their consequences, in one transaction.
//!
//! Since the beginning, the user may have been disabled or deleted, another sign-in of the same person may have been
//! settled, and the events may have been delivered again. Only the state in this transaction counts.

use std::time::Duration;

use gateway_model::{
    EventId, Identity, Session, SessionId, Timestamp, UpstreamSession, User, UserId, UserLimits, UserStatus,
    Verdict,
};
use rusqlite::Connection;

use crate::Store;
use crate::error::StoreError;
use crate::events::{self, Recorded};
use crate::rows;
use crate::sessions;
use crate::sign_in::PendingSignIn;
use crate::upstream_sessions;
use crate::users;
use crate::versions::Touches;

/// The result of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a sign-in, and most are the large one"
)]
pub enum Settled {
    /// The user is active and has a session.
    SignedIn {
        /// The user, with the attributes that the hooks have set.
        user: User,
        /// Their new session.
        session: Session,
    },
    /// A hook rejected it.
    Rejected {
        /// The reason for the person.
        reason: String,
    },
    /// A hook gave no verdict, or the user was disabled or deleted meanwhile.
    Refused,
    /// The provider has ended the session from which the sign-in comes.
    SessionEnded,
}

impl Store {
    /// Records the hooks' verdicts, sets attributes, activates the user and opens the session, in one transaction.
    /// `login` is `None` if the new-user hooks did not accept and the login hooks were not called; `new_user` is `None`
    /// if there was no such event.
    ///
    /// The first verdict on an event counts: if another delivery was settled before, its verdict is used, and its
    /// attributes have been set.
    ///
    /// # Errors
    /// If the database cannot be written; both events then stay pending.
    pub async fn settle_sign_in(
        &self,
        pending: &PendingSignIn,
        new_user: Option<&Verdict>,
        login: Option<&Verdict>,
        session_lifetime: Duration,
    ) -> Result<Settled, StoreError> {
        let sign_in = SignIn {
            user: pending.user.id.clone(),
            identity: pending.login.identity.clone(),
            new_user_event: pending.new_user.as_ref().map(|event| event.id.clone()),
            login_event: pending.login.id.clone(),
            new_user: new_user.cloned(),
            login: login.cloned(),
            session: SessionId::random(self.random())?,
            upstream: pending.upstream.clone(),
            sealed_id_token: pending.sealed_id_token.clone(),
            now: self.now(),
            lifetime: session_lifetime,
            limits: self.0.options.limits,
        };
        let touches = Touches::User(sign_in.user.clone());
        self.write(touches, move |connection| Ok(sign_in.settle(connection)?))
            .await
    }
}

/// The parts of a [`PendingSignIn`] that the transaction needs, without the claims, which may be large.
struct SignIn {
    user: UserId,
    identity: Identity,
    new_user_event: Option<EventId>,
    login_event: EventId,
    new_user: Option<Verdict>,
    login: Option<Verdict>,
    session: SessionId,
    upstream: UpstreamSession,
    sealed_id_token: Option<String>,
    now: Timestamp,
    lifetime: Duration,
    limits: UserLimits,
}

impl SignIn {
    fn settle(self, connection: &Connection) -> rusqlite::Result<Settled> {
        let mut ended = self.settle_new_user(connection)?;
        if ended.is_none() {
            ended = self.settle_login(connection)?;
        }
        let Some(ended) = ended else {
            return self.open_session(connection);
        };
        // The hooks will not be called for this sign-in any more.
        events::drop_where(connection, "id = ?2", self.now, &[&self.login_event.as_str()])?;
        Ok(ended)
    }

    /// Returns the result if the sign-in ends here.
    fn settle_new_user(&self, connection: &Connection) -> rusqlite::Result<Option<Settled>> {
        let user = &self.user;
        let Some(event) = &self.new_user_event else {
            return Ok(None);
        };
        match events::recorded(connection, event)? {
            Recorded::Accepted => return Ok(None),
            Recorded::Rejected(reason) => return Ok(Some(Settled::Rejected { reason })),
            Recorded::Gone | Recorded::Dropped | Recorded::Failed => return Ok(Some(Settled::Refused)),
            Recorded::Pending => {}
        }
        let status = rows::user_by_id(connection, user)?.map(|user| user.status);
        let verdict = match &self.new_user {
            Some(verdict) => Some(users::within_limits(connection, user, verdict, &self.limits)?),
            None => None,
        };
        match (verdict.as_deref(), status) {
            // If the user was disabled meanwhile, even a rejection waits: deleting the user would let the person come
            // back as a new user whom no operator has disabled.
            (Some(verdict @ Verdict::Accepted(_)), Some(UserStatus::Pending)) => {
                events::accept_new_user(connection, event, user, verdict, self.now)?;
                Ok(None)
            }
            (Some(verdict @ Verdict::Rejected { reason, .. }), Some(UserStatus::Pending)) => {
                events::reject_new_user(connection, event, user, verdict, self.now)?;
                Ok(Some(Settled::Rejected {
                    reason: reason.clone(),
                }))
            }
            // Without a verdict the event stays pending and is delivered again.
            _ => Ok(Some(Settled::Refused)),
        }
    }

    /// Returns the result if the sign-in ends here.
    fn settle_login(&self, connection: &Connection) -> rusqlite::Result<Option<Settled>> {
        let refused = Ok(Some(Settled::Refused));
        let user = &self.user;
        let event = &self.login_event;
        let known = rows::user_by_id(connection, user)?;
        if known.is_none_or(|user| user.status != UserStatus::Active) {
            return refused;
        }
        match events::recorded(connection, event)? {
            Recorded::Accepted => return Ok(None),
            Recorded::Rejected(reason) => return Ok(Some(Settled::Rejected { reason })),
            // The event went with its user, whose id has been assigned again since (ids made from addresses).
            Recorded::Gone | Recorded::Dropped => return refused,
            // A failure is not a verdict: if this delivery has one, it counts.
            Recorded::Pending | Recorded::Failed => {}
        }
        let Some(verdict) = &self.login else {
            return refused;
        };
        let verdict = users::within_limits(connection, user, verdict, &self.limits)?;
        let verdict = verdict.as_ref();
        events::record(connection, event, verdict, self.now)?;
        match verdict {
            Verdict::Accepted(attributes) => {
                users::set_attributes(connection, user, attributes)?;
                Ok(None)
            }
            Verdict::Rejected { reason, .. } => Ok(Some(Settled::Rejected {
                reason: reason.clone(),
            })),
            Verdict::Failed { .. } => refused,
        }
    }

    fn open_session(self, connection: &Connection) -> rusqlite::Result<Settled> {
        let user = &self.user;
        if upstream_sessions::has_ended(connection, &self.identity, &self.upstream, self.now)? {
            tracing::info!(
                %user, provider = self.identity.provider,
                "a sign-in was rejected: the provider has ended the session from which it came"
            );
            return Ok(Settled::SessionEnded);
        }
        let session = sessions::add(
            connection,
            self.session,
            user,
            &self.identity,
            self.now,
            self.lifetime,
            self.limits.sessions,
        )?;
        Ok(match (session, rows::user_by_id(connection, user)?) {
            (Some(session), Some(user)) => {
                let (issuer, token) = (&self.identity.issuer, self.sealed_id_token);
                upstream_sessions::keep(connection, &session.id, issuer, self.upstream.sid, token)?;
                Settled::SignedIn { user, session }
            }
            _ => Settled::Refused,
        })
    }
}
