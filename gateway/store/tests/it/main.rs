//! The store as its callers see it.
//!
//! | module | what it tries |
//! |---|---|
//! | `support` | a store in a directory of its own, with a clock that stands still |
//! | `who` | whose sign-in it is: identities, addresses, ids; takeover by email |
//! | `ending` | how sign-ins end: verdicts, races, redelivery |
//! | `people` | looking up, listing, naming, disabling, deleting |
//! | `sessions` | sessions, sign-outs, states, pruning |
//! | `upstream_sessions` | sign-outs that a provider tells of, and what it is told at one |
//! | `plugin_values` | what plugins keep: the contract, caps, many at once, a model |
//! | `caching` | that a session kept in memory is as good as the one in the database |
//! | `bounds` | that one user, one provider or one caller fills neither memory nor disk |
//! | `joining` | what an operator links, unlinks and merges |
//! | `durability` | crashes, several processes, closing |
//! | `logs` | which log belongs to which file |
//! | `restoring` | backups, and restoring them |
//! | `in_place` | a database that is moved, replaced or linked; one that is only read |
//! | `damage` | a damaged database is reported as one |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod bounds;
mod caching;
mod damage;
mod durability;
mod ending;
mod in_place;
mod joining;
mod logs;
mod people;
mod plugin_values;
mod restoring;
mod sessions;
mod support;
mod upstream_sessions;
mod who;
