//! Includes the unit tests of the examples' rules, which need neither the gateway nor WebAssembly, so that `cargo test`
//! of the workspace runs them.

#![allow(dead_code, reason = "only the tests in them are used here")]
#![allow(
    unreachable_pub,
    reason = "in the examples, they are modules of separate crates"
)]

#[path = "../rust-email-domains/src/domains.rs"]
mod domains;
#[path = "../rust-role-provider/src/grammar.rs"]
mod grammar;
#[path = "../rust-role-provider/src/policy.rs"]
mod policy;
#[path = "../rust-http-policy/src/answer.rs"]
mod policy_answer;
#[path = "../rust-http-policy/src/question.rs"]
mod policy_question;
#[path = "../rust-http-policy/src/settings.rs"]
mod policy_settings;
#[path = "../rust-key-value-roles/src/groups.rs"]
mod stored_roles_groups;
#[path = "../rust-key-value-roles/src/settings.rs"]
mod stored_roles_settings;
#[path = "../rust-webhook/src/message.rs"]
mod webhook_message;
#[path = "../rust-webhook/src/settings.rs"]
mod webhook_settings;
#[path = "../rust-webhook/src/signature.rs"]
mod webhook_signature;
