//! Components for the tests of the plugin host and the gateway, compiled from source by the build script: well-behaved
//! ones, and ones that do what the host must prevent.
//!
//! The sources in `rust` are crates, for behaviours of compiled code. Those in `wat` are hand-written WebAssembly, for
//! shapes that no compiler produces. A component needs no grant unless its comment says so.

use std::path::Path;
use std::{env, fs, io};

mod compiled;

pub use self::compiled::Compiled;

mod built {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
    include!(concat!(env!("OUT_DIR"), "/wat.rs"));
}

/// A permission provider whose behaviour depends on the service:
///
/// | service | behaviour |
/// |---|---|
/// | `ok` | answers `{"service": …, "user": …}` |
/// | `error-unavailable`, `error-failed` | an error answer of that kind |
/// | `spin` | an endless loop |
/// | `burn-<turns>` | that many turns of the loop, for example `burn-1000000`; answers `{"turns": n}` |
/// | `sleep` | waits for a minute in the host (`wasi:clocks`, `wasi:io/poll`) |
/// | `trap` | a panic, which ends in `unreachable` |
/// | `recurse` | recurses forever |
/// | `bomb` | grows its memory and writes to it until growing fails; answers `{"pages": n}` (64 KiB each) |
/// | `bomb-trap` | the same through the allocator, which traps at the end |
/// | `log-flood` | 100 MB to standard output and as much to standard error |
/// | `huge-list` | a million permissions |
/// | `huge-text`, `huge-name` | a value of 100 MB, a name of 1 MiB |
/// | `all-values` | one of each type: `boolean` true, `integer` -(2^53+1), `number` 0.5, `text`, `json` `{"list": [1, null, "a"]}` |
/// | `nan`, `infinity` | a number that JSON does not have |
/// | `bad-json`, `two-jsons`, `deep-json` | JSON text that is truncated, has two values, nests 10,000 deep |
/// | `control-name`, `escape-name`, `bidi-name`, `empty-name` | a name with a line break, an ANSI escape, a right-to-left override; an empty name |
/// | `duplicate` | two permissions of one name |
/// | `plant` | leaves the user's id in statics, a thread local and a page beyond the heap; answers what it found: `calls` (integer), `found`, `last`, `pages` (text): 0 and empty in a fresh instance |
/// | `env` | answers how many `variables`, `arguments` and bytes of `input` it sees (integers), and which files and sockets it could open (`opened`, text): 0 and empty in a sandbox |
///
/// Any other service is the error `failed`.
pub const BEHAVE: &[u8] = built::BEHAVE;

/// A permission provider that searches every place where a Rust guest can keep something for what an earlier call left,
/// then leaves the user's id, `CANARY-` and 16 hex digits, in each. Answers `user` (the id), `looked` (the places,
/// separated by spaces) and `found` (those with another user's id): none in a fresh instance, all of them in a used
/// one. [`canaries`] has the same in other languages.
pub const CANARY: &[u8] = built::CANARY;

/// A provider that answers `{"version": 1, "digest-hint": "v1", "service": …, "user": …, "also": 1}`.
pub const V1: &[u8] = built::V1;

/// The same with 2 instead of 1.
pub const V2: &[u8] = built::V2;

/// An extension with all three hooks that logs `hook=<hook> event=<id>` and, if the hook may set one, returns the
/// attribute `seen-<hook>` with the event's id. Needs the grant `logging`.
pub const COUNT: &[u8] = built::COUNT;

/// A plugin that makes everything grow that a plugin can, up to its limits: `on-user-login` answers 62 new attributes
/// of 1,000 bytes, `on-user-logout` always fails, and the permission provider does what the service's name says: `log`,
/// `store`, `answer` or `memory`. Needs the grants `key-value` and `logging`.
pub const GROW: &[u8] = built::GROW;

/// An extension with all three hooks whose behaviour depends on the user's name and email: each hook rejects `reject`
/// (`Rejected by <hook>: <name>`), and only `on-user-login` rejects `refuse-login`. No hook has a verdict for
/// `unavailable`, and one has none for `later-login` and `later-logout`. `trap` panics, `spin` loops, `bad-attributes`
/// returns an attribute with control characters, and `reserved` one that is reserved for the gateway. Everyone else is
/// accepted with the attribute `reject-saw`, whose value is the hook's name.
pub const REJECT: &[u8] = built::REJECT;

/// An extension that exports only `on-user-login` and returns its arguments as the attributes `login-at`,
/// `login-provider`, `login-subject`, `login-attributes` (names, separated by commas), `login-claims`.
pub const LOGIN_ONLY: &[u8] = built::LOGIN_ONLY;

/// A provider that returns the result of `users.get` for the user: `known`, `id`, `name`, `username`, `email`,
/// `avatar-url`, `joined`, `identities` (`provider|issuer|subject`, one per line), `attributes` (`name=value`, one per
/// line). Service `other:<id>` looks up another user, `many` a thousand times. Needs the grant `users`.
pub const IMPORTS_USERS: &[u8] = built::IMPORTS_USERS;

/// A provider that returns all its settings, and in `get:<service>` the setting with the service's name, or null. Needs
/// the grant `config`.
pub const IMPORTS_CONFIG: &[u8] = built::IMPORTS_CONFIG;

/// A provider that sends HTTP requests. The user's id is the command, for example `GET http://127.0.0.1:9000/`; see
/// `rust/imports-http` for the options. Needs the grant `http`.
pub const IMPORTS_HTTP: &[u8] = built::IMPORTS_HTTP;

/// A provider that returns `secret`: the secret with the service's name, or null. Needs the grant `secrets`.
pub const IMPORTS_SECRETS: &[u8] = built::IMPORTS_SECRETS;

/// A provider that uses the plugin's values. The user's id is the command, for example `set key =text`; see
/// `rust/imports-key-value` for the commands. Needs the grant `key-value`.
pub const IMPORTS_KEY_VALUE: &[u8] = built::IMPORTS_KEY_VALUE;

/// A provider that logs the service's name at each level and returns no permissions. Service `flood` logs 100,000 lines
/// of 600 bytes, `control` a message with line breaks and escape codes. Needs the grant `logging`.
pub const IMPORTS_LOGGING: &[u8] = built::IMPORTS_LOGGING;

/// Built and published for version 1.0.0: a provider that answers `{"provider-token": "<service>-<user>"}`.
/// See `published/1.0.0/README.md`.
pub const PUBLISHED_PROVIDER_1_0: &[u8] = include_bytes!("published/1.0.0/provider.wasm");

/// Built and published for version 1.0.0: an extension that admits users whose email address is in one of the setting's
/// `domains`, with the attribute `email-domain`; `unavailable` if the setting is missing. Needs the grant `config`.
pub const PUBLISHED_EXTENSION_1_0: &[u8] = include_bytes!("published/1.0.0/extension.wasm");

/// Built and published for version 1.0.0: stores the groups of a sign-in and returns their permissions, as
/// `guest-examples/rust-key-value-roles` says. Needs the grants `config` and `key-value`.
pub const PUBLISHED_PROVIDER_AND_HOOK_1_0: &[u8] = include_bytes!("published/1.0.0/provider-and-hook.wasm");

/// Built and published for version 1.0.0: as [`COUNT`].
pub const PUBLISHED_HOOKS_1_0: &[u8] = include_bytes!("published/1.0.0/hooks.wasm");

/// Hand-written: a provider of one kilobyte that returns no permissions and imports only `types`.
pub const PLAIN: &[u8] = built::PLAIN;

/// Returns no permissions, and traps if the service's name has five letters, like `trial`.
pub const TRIAL_TRAP: &[u8] = built::TRIAL_TRAP;

/// A provider whose start function loops, so it never reaches a call.
pub const START_LOOP: &[u8] = built::START_LOOP;

/// A provider whose start function traps.
pub const START_TRAP: &[u8] = built::START_TRAP;

/// A provider that answers, and loops in the cleanup after the host has read the answer.
pub const POST_RETURN_LOOP: &[u8] = built::POST_RETURN_LOOP;

/// A provider that loops when the host allocates memory for the arguments.
pub const REALLOC_LOOP: &[u8] = built::REALLOC_LOOP;

/// A provider that returns an address outside its memory for the arguments.
pub const BAD_REALLOC: &[u8] = built::BAD_REALLOC;

/// A provider whose answer is an address outside its memory.
pub const BAD_ANSWER_POINTER: &[u8] = built::BAD_ANSWER_POINTER;

/// A provider whose answer is a list outside its memory.
pub const BAD_POINTER: &[u8] = built::BAD_POINTER;

/// A provider whose answer is a list of 4,294,967,295 permissions.
pub const BAD_LENGTH: &[u8] = built::BAD_LENGTH;

/// A provider whose answer has a name that is not UTF-8.
pub const BAD_UTF8: &[u8] = built::BAD_UTF8;

/// A provider whose answer has a value of none of the five types.
pub const BAD_VARIANT: &[u8] = built::BAD_VARIANT;

/// A provider whose answer has 5,000 permissions with the same name of 60,000 bytes: 300 MB to copy out of a memory of
/// 256 KiB.
pub const SAME_BYTES: &[u8] = built::SAME_BYTES;

/// A provider that fills 32 MiB again and again, each time with one instruction.
pub const BULK_FILL: &[u8] = built::BULK_FILL;

/// A provider that leaves traces in a global, in memory, in a table and in dropped segments, and answers
/// how many it found: `{"found": 0}` in a fresh instance, 5 in a used one.
pub const PLANT: &[u8] = built::PLANT;

/// [`CANARY`], hand-written, with places that only WebAssembly itself has: globals, tables, handles, a second memory.
/// Service `segments` traps if an earlier call has dropped the module's segments.
pub const CANARY_WAT: &[u8] = built::CANARY_WAT;

/// A provider that grows four tables until growing fails; answers `{"elements": n}`.
pub const TABLE_BOMB: &[u8] = built::TABLE_BOMB;

/// A provider of nine core instances with a memory each, eight of which grow until growing fails; answers `{"pages":
/// n}`, the number of pages of those eight.
pub const MANY_MEMORIES: &[u8] = built::MANY_MEMORIES;

/// A provider with three memories in one module (the multi-memory proposal), two of which grow until growing fails.
pub const MULTI_MEMORY: &[u8] = built::MULTI_MEMORY;

/// A provider with a memory that threads could share (the threads proposal).
pub const SHARED_MEMORY: &[u8] = built::SHARED_MEMORY;

/// A provider of 901 core instances.
pub const MANY_INSTANCES: &[u8] = built::MANY_INSTANCES;

/// A provider with one function of 1.6 MB that branches everywhere: slow to compile
/// (25 s in a debug build, where it was measured).
pub const COMPILE_BOMB: &[u8] = built::COMPILE_BOMB;

/// A provider that imports `evil:corp/backdoor@1.0.0`, which does not exist.
pub const UNKNOWN_IMPORT: &[u8] = built::UNKNOWN_IMPORT;

/// A provider that imports `wasi:http/outgoing-handler@0.2.6` with a function that it does not have.
pub const HTTP_IMPORT: &[u8] = built::HTTP_IMPORT;

/// Exports the provider's interface with wrong types.
pub const WRONG_TYPE: &[u8] = built::WRONG_TYPE;

/// [`PLAIN`] in version 1.7.3, which fits 1.0.0.
pub const NEWER_VERSION: &[u8] = built::NEWER_VERSION;

/// Imports the types and exports the provider's interface in version 0.1.0.
pub const WRONG_VERSION: &[u8] = built::WRONG_VERSION;

/// Exports the provider's interface in version 0.1.0, and imports nothing of that version.
pub const WRONG_EXPORT_VERSION: &[u8] = built::WRONG_EXPORT_VERSION;

/// Exports the provider's interface in the versions 1.0.0 and 1.1.0.
pub const BOTH_VERSIONS: &[u8] = built::BOTH_VERSIONS;

/// Exports the provider's interface without its function.
pub const EMPTY_INTERFACE: &[u8] = built::EMPTY_INTERFACE;

/// A component that exports nothing.
pub const NO_EXPORTS: &[u8] = built::NO_EXPORTS;

/// A core module, which is not a component.
pub const CORE_MODULE: &[u8] = built::CORE_MODULE;

/// A provider like [`CANARY`].
#[derive(Clone, Debug)]
pub struct Canary {
    /// The language, in lower case.
    pub language: String,
    /// The component.
    pub wasm: Vec<u8>,
}

/// [`CANARY`], [`CANARY_WAT`], and the canaries in other languages. The variable `GUEST_CANARIES` has their files,
/// `<language>-canary.wasm`, separated by `:` and relative to this package.
///
/// # Errors
/// If a file cannot be read.
pub fn canaries() -> io::Result<Vec<Canary>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "which files to test is for whoever runs the test to say"
    )]
    let paths = env::var("GUEST_CANARIES").unwrap_or_default();
    let canary = |language: &str, wasm: &[u8]| Canary {
        language: language.to_owned(),
        wasm: wasm.to_vec(),
    };
    let mut canaries = vec![canary("rust", CANARY), canary("wat", CANARY_WAT)];
    for path in paths.split(':').filter(|path| !path.is_empty()) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let wasm = fs::read(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        canaries.push(canary(name.strip_suffix("-canary.wasm").unwrap_or(&name), &wasm));
    }
    Ok(canaries)
}
