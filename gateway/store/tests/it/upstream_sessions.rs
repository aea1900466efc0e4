//! Sign-outs that a provider reports, and those that are reported to it.

use std::time::Duration;

use gateway_model::{EventKind, Session, Timestamp, UpstreamUser, UserId};
use gateway_store::{
    PendingSignIn, Settled, SignOutHint, UpstreamSignOut,
    UpstreamSignedOut::{self, Ended, Replayed},
};

use crate::support::{Fixture, GRACE, LIFETIME, NOW, WEEK, accepted, person};

/// Somebody in a session at the provider, with an ID token that was signed now.
fn in_session(provider: &str, subject: &str, sid: Option<&str>) -> UpstreamUser {
    let mut person = person(provider, subject, Some(&format!("{subject}@{provider}.example")));
    person.session.sid = sid.map(str::to_owned);
    person.session.issued = Some(Timestamp(NOW));
    person
}

/// A logout token of `provider`.
fn sign_out(provider: &str, token: &str, subject: Option<&str>, sid: Option<&str>) -> UpstreamSignOut {
    UpstreamSignOut {
        issuer: format!("https://{provider}.example"),
        subject: subject.map(str::to_owned),
        sid: sid.map(str::to_owned),
        token: token.to_owned(),
        issued: Timestamp(NOW + 1),
        until: Timestamp(NOW + 900),
    }
}

async fn end(f: &Fixture, sign_out: &UpstreamSignOut) -> UpstreamSignedOut {
    f.store.end_upstream_sessions(sign_out).await.unwrap()
}

async fn lives(f: &Fixture, session: &Session) -> bool {
    let found = f.store.lookup_session(&session.id, &session.user_id).await;
    found.unwrap().is_some()
}

async fn settle(f: &Fixture, pending: &PendingSignIn) -> Settled {
    let new_user = pending.new_user.as_ref().map(|_| accepted(&[]));
    f.settle(pending, new_user.as_ref(), Some(&accepted(&[]))).await
}

async fn told_of(f: &Fixture) -> Vec<UserId> {
    let told = f.store.pending_sign_outs(0).await.unwrap();
    assert!(told.iter().all(|(_, event, _)| event.kind == EventKind::Logout));
    told.into_iter().map(|(_, event, _)| event.user_id).collect()
}

#[tokio::test]
async fn p21_a_sid_ends_the_sessions_that_came_from_it_and_no_others() {
    let f = Fixture::new().await;
    let (user, one) = f.sign_in(&in_session("google", "1", Some("s"))).await;
    let (_, same) = f.sign_in(&in_session("google", "1", Some("s"))).await;
    let others = [
        in_session("google", "1", Some("t")),
        in_session("google", "1", None),
        in_session("github", "1", Some("s")),
        in_session("google", "2", None),
    ];
    let mut kept = Vec::new();
    for other in &others {
        kept.push(f.sign_in(other).await.1);
    }
    assert!(lives(&f, &one).await, "it is in the cache now");

    assert_eq!(end(&f, &sign_out("forum", "a", None, Some("s"))).await, Ended(0));
    assert_eq!(end(&f, &sign_out("google", "b", None, Some("S"))).await, Ended(0));
    assert_eq!(
        end(&f, &sign_out("google", "c", Some("2"), Some("s"))).await,
        Ended(1),
        "of another subject: only the session of which nothing is known"
    );
    let unknown = kept.pop().unwrap();
    assert!(!lives(&f, &unknown).await && lives(&f, &one).await);

    assert_eq!(end(&f, &sign_out("google", "d", None, Some("s"))).await, Ended(2));
    assert!(!lives(&f, &one).await && !lives(&f, &same).await);
    for session in &kept {
        assert!(lives(&f, session).await);
    }
    assert_eq!(told_of(&f).await[1..], [user.id.clone(), user.id]);
}

#[tokio::test]
async fn p21_a_subject_ends_all_sessions_of_that_identity_and_a_sid_those_that_have_none() {
    let f = Fixture::new().await;
    // One person with two identities, who are one user.
    let mut google = in_session("google", "1", Some("s"));
    let mut github = in_session("github", "2", Some("s"));
    google.email = person("google", "1", Some("a@example.org")).email;
    github.email.clone_from(&google.email);
    let (user, by_github) = f.sign_in(&github).await;
    let (same, by_google) = f.sign_in(&google).await;
    assert_eq!(user.id, same.id);
    google.session.sid = None;
    let (_, without) = f.sign_in(&google).await;

    // The provider names a session that the gateway may have opened before it kept such names.
    assert_eq!(
        end(&f, &sign_out("google", "a", Some("1"), Some("elsewhere"))).await,
        Ended(1)
    );
    assert!(!lives(&f, &without).await && lives(&f, &by_google).await);
    google.session.sid = Some("t".into());
    f.sign_in(&google).await;
    assert_eq!(end(&f, &sign_out("google", "b", Some("1"), None)).await, Ended(2));
    assert!(!lives(&f, &by_google).await && lives(&f, &by_github).await);
}

#[tokio::test]
async fn p21_a_logout_token_works_once() {
    let f = Fixture::new().await;
    let someone = in_session("google", "1", None);
    f.sign_in(&someone).await;
    let token = sign_out("google", "a", Some("1"), None);
    assert_eq!(end(&f, &token).await, Ended(1));
    // The person signs in again.
    let mut later = someone.clone();
    later.session.issued = Some(Timestamp(NOW + 1));
    let (_, session) = f.sign_in(&later).await;
    assert_eq!(end(&f, &token).await, Replayed);
    assert!(lives(&f, &session).await);
    // Another issuer may name its tokens alike; and another process knows of this one.
    assert_eq!(end(&f, &sign_out("github", "a", Some("1"), None)).await, Ended(0));
    let other = f.open(f.path()).await;
    assert_eq!(other.end_upstream_sessions(&token).await.unwrap(), Replayed);

    let both = sign_out("google", "b", Some("1"), None);
    let (one, two) = tokio::join!(end(&f, &both), other.end_upstream_sessions(&both));
    let answers = [one, two.unwrap()];
    assert!(
        answers.contains(&Replayed) && answers.contains(&Ended(1)),
        "{answers:?}"
    );
}

#[tokio::test]
async fn p21_a_sign_in_in_progress_does_not_survive_the_sign_out() {
    // The values of the sign-in, and those that the sign-out names.
    for (sid, subject, named) in [
        (Some("s"), None, Some("s")),
        (None, Some("1"), None),
        (None, Some("1"), Some("elsewhere")),
        (Some("s"), Some("1"), Some("s")),
        (Some("s"), Some("1"), None),
    ] {
        let f = Fixture::new().await;
        let someone = in_session("google", "1", sid);
        let pending = f.begin(&someone).await;
        let another = f.begin(&in_session("google", "1", Some("another"))).await;
        assert_eq!(end(&f, &sign_out("google", "a", subject, named)).await, Ended(0));
        let case = format!("{sid:?} {subject:?} {named:?}");
        assert_eq!(settle(&f, &pending).await, Settled::SessionEnded, "{case}");
        assert_eq!(f.count("SELECT count(*) FROM sessions"), 0);
        let settled = settle(&f, &another).await;
        let goes_on = matches!(settled, Settled::SignedIn { .. });
        assert_eq!(goes_on, named.is_some(), "{case}: {settled:?}");

        // Somebody else, and a later session of the same person, get in.
        f.sign_in(&in_session("google", "2", Some("other"))).await;
        f.sign_in(&in_session("github", "1", sid)).await;
        let mut later = in_session("google", "1", Some("later"));
        later.session.issued = Some(Timestamp(NOW + 1));
        f.sign_in(&later).await;
    }
}

#[tokio::test]
async fn p21_a_provider_may_use_the_name_of_an_ended_session_again() {
    let f = Fixture::new().await;
    f.sign_in(&in_session("google", "1", Some("s"))).await;
    assert_eq!(end(&f, &sign_out("google", "a", None, Some("s"))).await, Ended(1));
    let at = |offset: i64| Some(Timestamp(NOW.saturating_add_signed(offset)));
    // The sign-out was at NOW + 1.
    for (issued, authenticated, is_new) in [
        (at(0), None, false),
        (at(1), None, false),
        (at(2), None, true),
        (at(9), at(-3600), false),
        (at(9), at(1), false),
        (at(2), at(2), true),
        (None, None, false),
    ] {
        let mut person = in_session("google", "1", Some("s"));
        (person.session.issued, person.session.authenticated) = (issued, authenticated);
        let pending = f.begin(&person).await;
        let settled = settle(&f, &pending).await;
        let case = format!("{issued:?} {authenticated:?}: {settled:?}");
        assert_eq!(matches!(settled, Settled::SignedIn { .. }), is_new, "{case}");
        assert_eq!(settled == Settled::SessionEnded, !is_new, "{case}");
    }
}

#[tokio::test]
async fn p21_marks_of_sign_outs_are_limited_for_each_issuer_and_deleted() {
    let f = Fixture::new().await;
    end(&f, &sign_out("google", "first", None, Some("s"))).await;
    end(&f, &sign_out("github", "first", None, Some("s"))).await;
    f.execute(
        "WITH RECURSIVE n(n) AS (SELECT 3 UNION ALL SELECT n + 1 FROM n WHERE n < 100000)
        INSERT INTO upstream_sign_outs SELECT randomblob(32), 'https://google.example', n, 1, 9e9 FROM n",
    );
    end(&f, &sign_out("google", "last", None, Some("t"))).await;
    let of = |issuer: &str| {
        f.count(&format!(
            "SELECT count(*) FROM upstream_sign_outs WHERE issuer = 'https://{issuer}.example'"
        ))
    };
    assert_eq!(
        (of("google"), of("github")),
        (100_000, 2),
        "the oldest two are gone"
    );
    let again = end(&f, &sign_out("google", "last", None, Some("t"))).await;
    assert_eq!(again, Replayed);
    f.execute("UPDATE upstream_sign_outs SET expires = 1 WHERE issuer LIKE '%google%'");
    f.clock.advance(GRACE + Duration::from_secs(901));
    f.store.prune(WEEK).await.unwrap();
    assert_eq!((of("google"), of("github")), (0, 0));
}

#[tokio::test]
async fn p21_a_sid_of_thousands_of_sessions_ends_all_of_them() {
    let f = Fixture::new().await;
    let (user, _) = f.sign_in(&in_session("google", "1", Some("s"))).await;
    f.execute(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2500)
        INSERT INTO sessions SELECT 'copy-' || n, user_id, identity_id, created, expires, upstream FROM sessions, n",
    );
    assert_eq!(
        end(&f, &sign_out("google", "a", None, Some("s"))).await,
        Ended(2501)
    );
    assert_eq!(f.count("SELECT count(*) FROM sessions"), 0);
    // The hooks get as many events as for sign-outs at the gateway.
    assert!(told_of(&f).await.iter().all(|told| *told == user.id));
}

#[tokio::test]
async fn p20_an_id_token_is_deleted_with_its_session() {
    let f = Fixture::new().await;
    let mut sessions = Vec::new();
    for subject in ["1", "2", "3"] {
        let mut pending = f.begin(&in_session("google", subject, None)).await;
        pending.sealed_id_token = Some(format!("sealed-{subject}"));
        let Settled::SignedIn { session, .. } = settle(&f, &pending).await else {
            panic!("not signed in")
        };
        sessions.push(session);
    }
    let hint = f.store.sign_out_hint(&sessions[0].id).unwrap().unwrap();
    let expected = SignOutHint {
        sealed_id_token: Some("sealed-1".into()),
        address: Some("1@google.example".into()),
    };
    assert_eq!(hint, expected);
    let kept = || f.count("SELECT count(*) FROM id_token_hints");
    assert_eq!(kept(), 3);
    f.store.log_out(&sessions[0].id).await.unwrap().unwrap();
    assert_eq!(f.store.sign_out_hint(&sessions[0].id).unwrap(), None);
    assert_eq!(kept(), 2);
    end(&f, &sign_out("google", "a", Some("2"), None)).await;
    assert_eq!(kept(), 1);
    f.clock.advance(LIFETIME + GRACE + Duration::from_secs(1));
    f.store.prune(WEEK).await.unwrap();
    assert_eq!(kept(), 0);
}

#[tokio::test]
async fn p20_a_provider_gets_only_the_address_that_it_sent() {
    let f = Fixture::new().await;
    let (_, forum) = f.sign_in(&person("forum", "1", Some("ann@forum.example"))).await;
    let (user, google) = f.sign_in(&person("google", "1", Some("ann@example.org"))).await;
    let address = |session: &Session| f.store.sign_out_hint(&session.id).unwrap().unwrap().address;
    assert_eq!(address(&forum).as_deref(), Some("ann@forum.example"));
    assert_eq!(address(&google).as_deref(), Some("ann@example.org"));
    // One user by an operator's hand: the user's address came from elsewhere.
    let hub = person("github", "2", None);
    let (same, _) = f.sign_in(&hub).await;
    f.store.merge_users(&same.id, &user.id).await.unwrap();
    let (same, github) = f.sign_in(&hub).await;
    assert_eq!(same.id, user.id);
    assert_eq!(address(&github), None);
}
