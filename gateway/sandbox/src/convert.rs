//! Converts users and events to the types of the WIT package.

use gateway_model::{Event, Identity, User};

use crate::bindings::types;

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

fn identity(identity: &Identity) -> types::Identity {
    types::Identity {
        provider: identity.provider.clone(),
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
    }
}

/// Converts the event of a new user or a sign-in. `person` is the user's current state.
pub(crate) fn sign_in(event: &Event, person: &User) -> types::SignIn {
    types::SignIn {
        event_id: event.id.as_str().to_owned(),
        at: event.at.0,
        user: user(person),
        identity: identity(&event.identity),
        claims: event.claims.as_str().to_owned(),
    }
}

pub(crate) fn sign_out(event: &Event, person: &User) -> types::SignOut {
    types::SignOut {
        event_id: event.id.as_str().to_owned(),
        at: event.at.0,
        user: user(person),
    }
}
