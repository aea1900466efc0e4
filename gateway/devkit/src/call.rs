//! One call on the bench, and what it cost.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_model::{Event, EventKind, PermissionMap, User, UserId};
use gateway_sandbox::call::{self, Failure, Prepared, Usage};
use gateway_sandbox::exports::Function;
use gateway_sandbox::lifecycle::{self, HookAnswer};
use gateway_sandbox::{CallError, HostServices, LogLine, Program, permission_provider};
use tokio::time::Instant;

/// What a component is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// `get-permissions`.
    Permissions {
        /// The service's name.
        service: String,
        /// Whom it is asked about.
        user: UserId,
    },
    /// The hook of the event's kind.
    Event {
        /// What happened.
        event: Box<Event>,
        /// To whom.
        user: Box<User>,
    },
}

impl Question {
    /// The function that is called.
    pub(super) const fn function(&self) -> Function {
        match self {
            Self::Permissions { .. } => Function::GetPermissions,
            Self::Event { event, .. } => lifecycle::function_of(event.kind),
        }
    }
}

/// What a component answers, checked by the gateway's rules.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// What the user may do: name to JSON value.
    Permissions(PermissionMap),
    /// The sign-in goes on, with these changes to the user's attributes.
    Accepted(BTreeMap<String, String>),
    /// The sign-in ends. What the person is shown.
    Rejected(String),
    /// A sign-out was heard: there is nothing to answer.
    Heard,
}

/// How one call went.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it gave.
    pub answer: Result<Answer, CallFailure>,
    /// Units of fuel that it used.
    pub fuel: u64,
    /// Bytes that its memories and tables had in the end.
    pub memory: usize,
    /// How long it took, the making of its instance included where that was not made ahead.
    pub time: Duration,
    /// What it wrote, in its order.
    pub log: Vec<LogLine>,
    /// How many messages more it wrote, over its share.
    pub log_dropped: u64,
}

/// Why a call gave nothing. Its text says what happened, where in the guest, and what the guest wrote to
/// stderr, as the gateway's log does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallFailure(Failure);

impl CallFailure {
    /// Which of the ways to fail it is.
    #[must_use]
    pub const fn error(&self) -> &CallError {
        &self.0.error
    }

    /// The guest's functions that it was in, demangled, innermost first; those of the glue between it and the
    /// host left out. Empty where none is known.
    #[must_use]
    pub fn functions(&self) -> Vec<String> {
        self.0.trace.functions().collect()
    }

    /// Whether there are no functions because the component has no names of them.
    #[must_use]
    pub const fn is_nameless(&self) -> bool {
        self.0.trace.is_nameless()
    }

    /// The last lines that it wrote to stderr.
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
    let Usage {
        time,
        fuel,
        memory,
        log_dropped,
    } = usage;
    Call {
        answer: answer.map_err(CallFailure),
        fuel,
        memory,
        time,
        log: transcript.map(|transcript| transcript.take()).unwrap_or_default(),
        log_dropped,
    }
}
