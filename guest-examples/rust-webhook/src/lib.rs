//! An extension that notifies a webhook of every new user before they are signed in.
//!
//! | module | what it does |
//! |---|---|
//! | [`settings`] | reads the settings |
//! | [`message`] | the message for the webhook |
//! | [`signature`] | the headers: id, time, signature |
//! | [`http`] | a request with a timeout |
//! | here | the hook |

mod http;
mod message;
mod settings;
mod signature;

// The crate `wstd` imports `wasi:http` with its own world, which the linker merges with this one.
wit_bindgen::generate!({
    inline: r#"
        package example:webhook;
        world plugin {
            import auth-gateway:plugin/config@1.0.0;
            import auth-gateway:plugin/logging@1.0.0;
            import auth-gateway:plugin/secrets@1.0.0;
            export auth-gateway:plugin/on-new-user@1.0.0;
        }
    "#,
    path: "../../wit",
    generate_all,
});

use std::time::{SystemTime, UNIX_EPOCH};

use auth_gateway::plugin::logging::{Level, log};
use auth_gateway::plugin::types::{HookError, SignIn};
use auth_gateway::plugin::{config, secrets};
use exports::auth_gateway::plugin::on_new_user::Guest;
use message::{Data, Identity, Message, Person};
use settings::Settings;

struct NewUsers;

export!(NewUsers);

impl Guest for NewUsers {
    fn on_new_user(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
        // A receiver that is down is not a verdict about the person. `Unavailable` fails the sign-in without one, so
        // the gateway delivers the same event again, with the same id. After `Rejected`, the next sign-in would be
        // another event.
        let settings = Settings::read(config::all()).map_err(HookError::Unavailable)?;
        let (body, headers) = prepare(&event).map_err(HookError::Unavailable)?;
        match deliver(&settings, body, &headers) {
            Ok(()) => {}
            Err(reason) if settings.pass => {
                let id = &event.event_id;
                log(
                    Level::Warn,
                    &format!("the webhook was not notified of event {id}: {reason}"),
                );
            }
            Err(reason) => {
                let reason = format!("the webhook was not notified: {reason}");
                return Err(HookError::Unavailable(reason));
            }
        }
        Ok(Vec::new())
    }
}

type Headers = Vec<(&'static str, String)>;

/// The body and the headers of the message.
fn prepare(event: &SignIn) -> Result<(String, Headers), String> {
    let body = message(event)?.body()?;
    let secret = secrets::get("signing");
    // The time of this delivery, not of the event, because receivers reject old messages to prevent replays.
    let headers = signature::headers(&event.event_id, now(), &body, secret.as_deref())?;
    Ok((body, headers))
}

fn deliver(settings: &Settings, body: String, headers: &Headers) -> Result<(), String> {
    match http::post(&settings.url, headers, body, settings.timeout)? {
        200..=299 => Ok(()),
        status => Err(format!("it answered {status}")),
    }
}

fn message(event: &SignIn) -> Result<Message<'_>, String> {
    let user = &event.user;
    let attributes = user.attributes.iter();
    Ok(Message {
        id: &event.event_id,
        r#type: "user.created",
        timestamp: message::timestamp(event.at)?,
        data: Data {
            user: Person {
                id: &user.id,
                name: &user.name,
                email: user.email.as_deref(),
                email_trusted: user.email_trusted,
                avatar_url: user.avatar_url.as_deref(),
                attributes: attributes
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect(),
            },
            identity: Identity {
                provider: &event.identity.provider,
                issuer: &event.identity.issuer,
                subject: &event.identity.subject,
            },
        },
    })
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs()
}
