//! How a sign-in ends: the hooks' verdicts, and what follows from them, in one transaction.
//!
//! Between the beginning and the end anything may have happened: the user was disabled or deleted,
//! another sign-in of the same person was settled, the events were delivered a second time. What the
//! database says in this transaction is what counts.

use std::ops::ControlFlow;
use std::time::Duration;

use gateway_model::{
    EventId, Identity, Session, SessionId, Timestamp, User, UserId, UserLimits, UserStatus, Verdict,
};
use rusqlite::Connection;

use crate::Store;
use crate::error::StoreError;
use crate::events::{self, Recorded};
use crate::rows;
use crate::sessions;
use crate::sign_in::PendingSignIn;
use crate::upstream_sessions::{self, Origin};
use crate::users;
use crate::versions::Touches;

/// How a sign-in ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a sign-in, and most are the large one"
)]
pub enum Settled {
    /// The user is active and has a session.
    SignedIn {
        /// The user, attributes applied.
        user: User,
        /// Their new session.
        session: Session,
    },
    /// A hook said no.
    Rejected {
        /// What the person is shown.
        reason: String,
    },
    /// A hook gave no verdict, or the user was disabled or deleted meanwhile.
    Refused,
    /// The provider has ended the session that the sign-in comes from.
    SessionEnded,
}

impl Store {
    /// Records the hooks' verdicts, applies attributes, activates the user, opens the session: one
    /// transaction. `login` is `None` where the new-user verdict was not an acceptance and login hooks
    /// did not run; `new_user` is `None` where there was no such event.
    ///
    /// The first verdict on an event stands: where another delivery was settled before, its verdict is
    /// the one that counts, and its attributes have been applied.
    ///
    /// # Errors
    /// When the database cannot be written; both events then stay pending.
    pub async fn settle_sign_in(
        &self,
        pending: &PendingSignIn,
        new_user: Option<&Verdict>,
        login: Option<&Verdict>,
        session_lifetime: Duration,
    ) -> Result<Settled, StoreError> {
        let session = SessionId::random(self.random())?;
        let sign_in = SignIn {
            user: pending.user.id.clone(),
            identity: pending.login.identity.clone(),
            new_user_event: pending.new_user.as_ref().map(|event| event.id.clone()),
            login_event: pending.login.id.clone(),
            new_user: new_user.cloned(),
            login: login.cloned(),
            session,
            from: Origin::of(pending),
            now: self.now(),
            lifetime: session_lifetime,
            limits: self.limits(),
        };
        let touches = Touches::User(sign_in.user.clone());
        self.write(touches, move |connection| Ok(sign_in.settle(connection)?))
            .await
    }
}

/// What the transaction needs of a [`PendingSignIn`]: not the claims, which may be large.
struct SignIn {
    user: UserId,
    identity: Identity,
    new_user_event: Option<EventId>,
    login_event: EventId,
    new_user: Option<Verdict>,
    login: Option<Verdict>,
    session: SessionId,
    from: Origin,
    now: Timestamp,
    lifetime: Duration,
    limits: UserLimits,
}

impl SignIn {
    fn settle(self, connection: &Connection) -> rusqlite::Result<Settled> {
        let ends = match self.settle_new_user(connection)? {
            ControlFlow::Continue(()) => match self.settle_login(connection)? {
                ControlFlow::Continue(()) => return self.open_session(connection),
                ControlFlow::Break(settled) => settled,
            },
            ControlFlow::Break(settled) => settled,
        };
        // Whatever ended it: nobody will be told of this sign-in any more.
        events::drop_pending(connection, &self.login_event, self.now)?;
        Ok(ends)
    }

    /// `Break`: the sign-in ends here.
    fn settle_new_user(&self, connection: &Connection) -> rusqlite::Result<ControlFlow<Settled>> {
        let user = &self.user;
        let Some(event) = &self.new_user_event else {
            return Ok(ControlFlow::Continue(()));
        };
        match events::recorded(connection, event)? {
            Recorded::Accepted => return Ok(ControlFlow::Continue(())),
            Recorded::Rejected(reason) => return Ok(ControlFlow::Break(Settled::Rejected { reason })),
            Recorded::Gone | Recorded::Dropped | Recorded::Failed => {
                return Ok(ControlFlow::Break(Settled::Refused));
            }
            Recorded::Pending => {}
        }
        let status = rows::user_by_id(connection, user)?.map(|user| user.status);
        let verdict = match &self.new_user {
            Some(verdict) => Some(users::within_limits(connection, user, verdict, &self.limits)?),
            None => None,
        };
        match (verdict.as_deref(), status) {
            // Disabled meanwhile: even a rejection waits, for deleting the user would let the person
            // come back as somebody new whom no operator has disabled.
            (Some(verdict @ Verdict::Accepted(_)), Some(UserStatus::Pending)) => {
                events::accept_new_user(connection, event, user, verdict, self.now)?;
                Ok(ControlFlow::Continue(()))
            }
            (Some(verdict @ Verdict::Rejected { reason, .. }), Some(UserStatus::Pending)) => {
                events::reject_new_user(connection, event, user, verdict, self.now)?;
                Ok(ControlFlow::Break(Settled::Rejected {
                    reason: reason.clone(),
                }))
            }
            // No verdict: the event stays pending and comes again.
            _ => Ok(ControlFlow::Break(Settled::Refused)),
        }
    }

    /// `Break`: the sign-in ends here.
    fn settle_login(&self, connection: &Connection) -> rusqlite::Result<ControlFlow<Settled>> {
        let refused = Ok(ControlFlow::Break(Settled::Refused));
        let user = &self.user;
        let event = &self.login_event;
        let known = rows::user_by_id(connection, user)?;
        if known.is_none_or(|user| user.status != UserStatus::Active) {
            return refused;
        }
        match events::recorded(connection, event)? {
            Recorded::Accepted => return Ok(ControlFlow::Continue(())),
            Recorded::Rejected(reason) => return Ok(ControlFlow::Break(Settled::Rejected { reason })),
            // Gone with a user whose id has been given again since (ids made of addresses).
            Recorded::Gone | Recorded::Dropped => return refused,
            // A failure is no verdict: if this delivery has one, it counts.
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
                Ok(ControlFlow::Continue(()))
            }
            Verdict::Rejected { reason, .. } => Ok(ControlFlow::Break(Settled::Rejected {
                reason: reason.clone(),
            })),
            Verdict::Failed { .. } => refused,
        }
    }

    fn open_session(self, connection: &Connection) -> rusqlite::Result<Settled> {
        let user = &self.user;
        if upstream_sessions::has_ended(connection, &self.identity, &self.from, self.now)? {
            tracing::info!(
                %user, provider = self.identity.provider,
                "a sign-in was rejected: the provider has ended the session that it came from"
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
                upstream_sessions::keep(connection, &session.id, &self.identity.issuer, &self.from)?;
                Settled::SignedIn { user, session }
            }
            _ => Settled::Refused,
        })
    }
}
