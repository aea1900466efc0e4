//! One call of a component, and its cost.

use std::collections::BTreeMap;

use gateway_model::{Event, EventKind, PermissionMap, User, UserId};
use gateway_sandbox::call::{self, Failure, Prepared, Usage};
use gateway_sandbox::exports::Function;
use gateway_sandbox::lifecycle::{self, HookAnswer};
use gateway_sandbox::{CallError, HostServices, LogLine, Program, permission_provider};
use tokio::time::Instant;

/// The function to call, and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// `get-permissions`.
    Permissions {
        /// The service's name.
        service: String,
        /// The user's id.
        user: UserId,
    },
    /// The hook of the event's kind.
    Event {
        /// The event.
        event: Box<Event>,
        /// The event's user.
        user: Box<User>,
    },
}

impl Question {
    pub(super) const fn function(&self) -> Function {
        match self {
            Self::Permissions { .. } => Function::GetPermissions,
            Self::Event { event, .. } => lifecycle::function_of(event.kind),
        }
    }
}

/// A component's answer, checked by the gateway's rules.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The user's permissions: name to JSON value.
    Permissions(PermissionMap),
    /// The sign-in continues, with these changes to the user's attributes.
    Accepted(BTreeMap<String, String>),
    /// The sign-in is refused, with this reason for the user.
    Rejected(String),
    /// The sign-out was processed.
    Heard,
}

/// The result of one call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The answer, or why there is none.
    pub answer: Result<Answer, CallFailure>,
    /// Its cost. The time includes the creation of its instance, unless that was prepared.
    pub usage: Usage,
    /// Its log lines, in order.
    pub log: Vec<LogLine>,
}

/// Why a call failed. Its text says what happened, where in the guest, and what the guest wrote to stderr, as in the
/// gateway's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallFailure(Failure);

impl CallFailure {
    /// The kind of failure.
    #[must_use]
    pub const fn error(&self) -> &CallError {
        &self.0.error
    }

    /// The guest's functions that were running, demangled, innermost first, without the glue between guest and host.
    /// Empty if none is known.
    #[must_use]
    pub fn functions(&self) -> Vec<String> {
        self.0.trace.functions().collect()
    }

    /// Whether there are no functions because the component has no function names.
    #[must_use]
    pub const fn is_nameless(&self) -> bool {
        self.0.trace.is_nameless()
    }

    /// The last lines that the guest wrote to stderr.
    #[must_use]
    pub fn said(&self) -> &[String] {
        self.0.trace.said()
    }
}

/// Calls a function, as the gateway does. Must be polled on a guest thread.
pub(super) async fn run(
    program: &Program,
    services: HostServices,
    prepared: Option<Prepared>,
    question: &Question,
) -> Call {
    let deadline = Instant::now() + program.config.limits.deadline;
    let function = question.function();
    let transcript = services.transcript.clone();
    let (answer, usage) = match question {
        Question::Permissions { service, user } => {
            let invoke = permission_provider::invoke(service.clone(), user.as_str().to_owned());
            let (word, usage) = call::run(program, function, services, deadline, prepared, invoke).await;
            let answer =
                word.and_then(|word| Ok(Answer::Permissions(permission_provider::check(word, program)?)));
            (answer, usage)
        }
        Question::Event { event, user } => {
            let invoke = lifecycle::invoke(event, user);
            let (word, usage) = call::run(program, function, services, deadline, prepared, invoke).await;
            let answer = word.and_then(|word| {
                let said = lifecycle::check(word, function, program)?;
                Ok(match said {
                    HookAnswer::Accepted(_) if event.kind == EventKind::Logout => Answer::Heard,
                    HookAnswer::Accepted(attributes) => Answer::Accepted(attributes),
                    HookAnswer::Rejected(reason) => Answer::Rejected(reason),
                })
            });
            (answer, usage)
        }
    };
    Call {
        answer: answer.map_err(CallFailure),
        usage,
        log: transcript.map(|transcript| transcript.take()).unwrap_or_default(),
    }
}
