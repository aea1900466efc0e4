//! Runs the unit tests that stand beside the examples' rules, which need no gateway and no WebAssembly:
//! a `cargo test` of the whole then covers them too.

#![allow(dead_code, reason = "only the tests in them are used here")]
#![allow(unreachable_pub, reason = "they are modules of crates of their own")]

#[path = "../rust-email-domains/src/domains.rs"]
mod domains;
#[path = "../rust-role-provider/src/grammar.rs"]
mod grammar;
#[path = "../rust-role-provider/src/policy.rs"]
mod policy;
