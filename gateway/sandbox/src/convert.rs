//! The gateway's users and events in the shapes that plugins are given.

use gateway_model::{Event, Identity, User};

use crate::bindings::types;

/// A user as `types.user`.
pub(crate) fn user(user: &User) -> types::User {
    types::User {
        id: user.id.as_str().to_owned(),
        username: user.username.as_ref().map(ToString::to_string),
        name: user.name.clone(),
        email: user.email.as_ref().map(|email| email.address.clone()),
        email_trusted: user.email.as_ref().is_some_and(|email| email.trusted),
        avatar_url: user.avatar_url.clone(),
        identities: user.identities.iter().map(identity).collect(),
        joined: user.joined.0,
        attributes: user
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    }
}

/// An identity as `types.identity`.
fn identity(identity: &Identity) -> types::Identity {
    types::Identity {
        provider: identity.provider.clone(),
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
    }
}

/// A new user's or a login's event as `types.sign-in`, with the user as they are by now.
pub(crate) fn sign_in(event: &Event, person: &User) -> types::SignIn {
    types::SignIn {
        event_id: event.id.as_str().to_owned(),
        at: event.at.0,
        user: user(person),
        identity: identity(&event.identity),
        claims: event.claims.as_str().to_owned(),
    }
}

/// A logout's event as `types.sign-out`.
pub(crate) fn sign_out(event: &Event, person: &User) -> types::SignOut {
    types::SignOut {
        event_id: event.id.as_str().to_owned(),
        at: event.at.0,
        user: user(person),
    }
}
