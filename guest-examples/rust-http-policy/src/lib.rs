//! A permission provider that asks a policy service over HTTP and caches its answers.
//!
//! | module | what it does |
//! |---|---|
//! | [`settings`] | reads the settings |
//! | [`question`] | the question, and the key of its cached answer |
//! | [`answer`] | the answer, and how long it is valid |
//! | [`http`] | a request and its response, with a timeout |
//! | [`statistics`] | how often the service had to be asked |
//! | here | from the gateway's question to an answer |

mod answer;
mod http;
mod question;
mod settings;
mod statistics;

// The crate `wstd` imports `wasi:http` with its own world, which the linker merges with this one.
wit_bindgen::generate!({
    inline: r#"
        package example:policy;
        world plugin {
            include auth-gateway:plugin/provider@1.0.0;
            import auth-gateway:plugin/config@1.0.0;
            import auth-gateway:plugin/key-value@1.0.0;
            import auth-gateway:plugin/logging@1.0.0;
            import auth-gateway:plugin/secrets@1.0.0;
            import auth-gateway:plugin/users@1.0.0;
        }
    "#,
    path: "../../wit",
    generate_all,
});

use std::time::{SystemTime, UNIX_EPOCH};

use answer::{Failure, Kept, Permissions, Use};
use auth_gateway::plugin::logging::{Level, log};
use auth_gateway::plugin::types::{Permission, User, Value};
use auth_gateway::plugin::{config, key_value, secrets, users};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};
use question::{Input, Person, Question};
use settings::Settings;
use statistics::{Counts, Source, count};

struct Policy;

export!(Policy);

impl Guest for Policy {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let settings = Settings::read(config::all()).map_err(ProviderError::Failed)?;
        if settings.statistics_service.as_ref() == Some(&service) {
            return counts(&settings, &user_id);
        }
        let user = users::get(&user_id)
            .ok_or_else(|| ProviderError::Failed(format!("there is no user with the id {user_id}")))?;
        let answered = decide(&settings, &service, &user);
        let source = answered.as_ref().map_or(Source::Failure, |(_, source)| *source);
        count(source, settings.report);
        match answered {
            Ok((permissions, _)) => Ok(permissions.into_iter().map(permission).collect()),
            // In both cases the gateway signs nothing.
            Err(Failure::Unavailable(sentence)) => Err(ProviderError::Unavailable(sentence)),
            Err(Failure::Failed(sentence)) => Err(ProviderError::Failed(sentence)),
        }
    }
}

/// The permissions, and their source.
fn decide(settings: &Settings, service: &str, user: &User) -> Result<(Permissions, Source), Failure> {
    let user = person(user);
    let body = Question {
        input: Input { service, user },
    }
    .body()
    .map_err(Failure::Failed)?;
    let key = question::key(&settings.url, &body);
    let kept = kept(&key).map(|kept| {
        (
            kept.usable(now(), settings.cache, settings.stale),
            kept.permissions,
        )
    });
    let stale = match kept {
        Some((Use::Fresh, permissions)) => return Ok((permissions, Source::Hit)),
        Some((Use::Stale, permissions)) => Some(permissions),
        _ => None,
    };
    match (ask(settings, body), stale) {
        (Ok(permissions), _) => {
            keep(settings, &key, &permissions);
            Ok((permissions, Source::Miss))
        }
        (Err(Failure::Unavailable(reason)), Some(permissions)) => {
            log(Level::Warn, &format!("used a cached answer: {reason}"));
            Ok((permissions, Source::Stale))
        }
        (Err(failure), _) => Err(failure),
    }
}

fn ask(settings: &Settings, body: String) -> Result<Permissions, Failure> {
    let token = secrets::get("token").map(|token| ("authorization", format!("Bearer {token}")));
    let response = http::post(&settings.url, token.as_slice(), body, settings.timeout)?;
    answer::permissions(response.status, &response.body)
}

/// The cached answer. If the store fails, the service is asked instead.
fn kept(key: &str) -> Option<Kept> {
    let kept = match key_value::get(key) {
        Ok(bytes) => bytes.map(|bytes| Kept::read(&bytes)).transpose(),
        Err(error) => Err(error.to_string()),
    };
    kept.unwrap_or_else(|reason| {
        log(Level::Warn, &format!("the cache cannot be read: {reason}"));
        None
    })
}

fn keep(settings: &Settings, key: &str, permissions: &Permissions) {
    let Some(lifetime) = answer::lifetime(settings.cache, settings.stale) else {
        return;
    };
    let kept = Kept {
        at: now(),
        permissions: permissions.clone(),
    };
    let written = kept
        .write()
        .and_then(|bytes| key_value::set(key, &bytes, Some(lifetime)).map_err(|error| error.to_string()));
    if let Err(reason) = written {
        log(Level::Warn, &format!("an answer was not cached: {reason}"));
    }
}

/// The counts for users who may see them, nothing for others.
fn counts(settings: &Settings, user_id: &String) -> Result<Vec<Permission>, ProviderError> {
    if !settings.statistics_users.contains(user_id) {
        return Ok(Vec::new());
    }
    let counts = Counts::read()
        .map_err(|error| ProviderError::Unavailable(format!("the counts cannot be read: {error}")))?;
    let shown = [
        ("hit-rate", Value::Number(counts.hit_rate())),
        ("hits", Value::Integer(counts.hits)),
        ("misses", Value::Integer(counts.misses)),
        ("stale", Value::Integer(counts.stale)),
        ("failures", Value::Integer(counts.failures)),
    ];
    let permission = |(name, value): (&str, Value)| Permission {
        name: name.to_owned(),
        value,
    };
    Ok(shown.map(permission).into())
}

fn person(user: &User) -> Person<'_> {
    let attributes = user.attributes.iter();
    Person {
        id: &user.id,
        username: user.username.as_deref(),
        name: &user.name,
        email: user.email.as_deref(),
        email_trusted: user.email_trusted,
        attributes: attributes
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
    }
}

fn permission((name, value): (String, serde_json::Value)) -> Permission {
    let value = match value {
        serde_json::Value::Bool(value) => Value::Boolean(value),
        serde_json::Value::String(text) => Value::Text(text),
        other => Value::Json(other.to_string()),
    };
    Permission { name, value }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
