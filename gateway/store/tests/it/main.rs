//! Tests of the store through its public interface.
//!
//! | module | subject |
//! |---|---|
//! | `support` | a store in its own directory, with a manual clock |
//! | `who` | whose sign-in it is: identities, addresses, ids; takeover by email |
//! | `ending` | the end of a sign-in: verdicts, races, redelivery |
//! | `people` | lookups, lists, usernames, disabling, deleting |
//! | `sessions` | sessions, sign-outs, states, pruning |
//! | `upstream_sessions` | sign-outs by a provider, and at a provider |
//! | `plugin_values` | plugins' values: the contract, caps, concurrency, a model |
//! | `caching` | a cached session is as good as the one in the database |
//! | `bounds` | one user, one provider or one caller fills neither memory nor disk |
//! | `joining` | links, unlinks and merges by operators |
//! | `durability` | crashes, several processes, closing |
//! | `logs` | which log belongs to which file |
//! | `restoring` | backups, and restoring them |
//! | `in_place` | a database that is moved, replaced or linked; one that is only read |
//! | `damage` | reports of damaged databases |

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
