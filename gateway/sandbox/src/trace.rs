//! Where in a guest a call failed, by the names of the guest's functions, and what the guest wrote to stderr.

use std::fmt;

use rustc_demangle::try_demangle;
use wasmtime::{FrameInfo, WasmBacktrace};

use crate::log::GuestLog;
use crate::text::printable;

/// Most functions in a trace.
const MAX_FUNCTIONS: usize = 10;
/// Longest name of a function, in bytes.
const MAX_NAME: usize = 120;
/// Most bytes of the guest's stderr in a trace.
const MAX_SAID: usize = 1500;

/// Modules that tools such as `wasm-tools` put between a guest's own code and the host.
const GLUE_MODULES: &[&str] = &["wit-component:", "wasi_snapshot_preview1"];
/// Prefixes of functions between a component's export and the author's function.
const GLUE: &[&str] = &[
    "cabi_",
    "_cabi_",
    "__cabi_",
    "_export_",
    "__export_",
    "__wasm_export_",
    "wit_bindgen::",
    "__wit_bindgen",
    "__wasm_call_",
    "wit_dylib_",
    "adapter ",
];
/// Prefixes of functions in which panics, aborts and allocations of language runtimes end. They are the same in every
/// guest, so they do not help its author.
const RUNTIME: &[&str] = &[
    "__rust",
    "rust_panic",
    "rust_begin_unwind",
    "rust_oom",
    "std::",
    "<std::",
    "core::",
    "<core::",
    "alloc::",
    "<alloc::",
    "dlmalloc::",
    "<dlmalloc::",
];
/// The same, as complete names.
const RUNTIME_NAMES: &[&str] = &[
    "abort",
    "exit",
    "_Exit",
    "__assert_fail",
    "malloc",
    "dlmalloc",
    "calloc",
    "dlcalloc",
    "realloc",
    "dlrealloc",
    "sbrk",
];

/// The place in the guest's code at which a call failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The guest's functions, innermost first, each with the number of its consecutive frames.
    functions: Vec<(String, usize)>,
    /// Some frames have no name, and none of the named ones is the author's.
    is_nameless: bool,
    /// The last lines of stderr.
    said: Vec<String>,
}

impl Trace {
    /// The trace of an error that ended a call.
    pub fn of(error: &wasmtime::Error, log: &GuestLog) -> Self {
        let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames);
        let names = frames.unwrap_or_default().iter().map(Frame::of).collect();
        Self::new(names, log.said())
    }

    fn new(frames: Vec<Frame>, said: Vec<String>) -> Self {
        let is_authors = |frame: &Frame| frame.name.is_some() && !frame.is_glue && !frame.is_runtime;
        let is_nameless = frames.iter().any(|frame| frame.name.is_none()) && !frames.iter().any(is_authors);
        // Without a function of the author's, the compiler has inlined all of them into the export.
        let keep: fn(&Frame) -> bool = if is_nameless || frames.iter().any(is_authors) {
            is_authors
        } else if frames.iter().any(Frame::is_export) {
            Frame::is_export
        } else if frames.iter().any(|frame| !frame.is_runtime) {
            |frame| !frame.is_runtime
        } else {
            |_| true
        };
        let functions = counted(frames.into_iter().filter(keep).filter_map(|frame| frame.name));
        let said = tidy(said);
        // An interpreter's own functions do not help the author. The stack of a JavaScript exception does.
        let in_script = if is_nameless {
            counted(javascript(&said))
        } else {
            Vec::new()
        };
        Self {
            is_nameless: is_nameless && in_script.is_empty(),
            functions: if in_script.is_empty() {
                functions
            } else {
                in_script
            },
            said,
        }
    }

    /// The guest's functions, innermost first.
    pub fn functions(&self) -> impl Iterator<Item = String> {
        self.functions.iter().map(|(name, count)| match count {
            1 => name.clone(),
            count => format!("{name} ({count} times in a row)"),
        })
    }

    /// Whether there is a stack without function names.
    pub const fn is_nameless(&self) -> bool {
        self.is_nameless
    }

    /// The last lines that the guest wrote to stderr.
    pub fn said(&self) -> &[String] {
        &self.said
    }
}

/// Continues the sentence of an error. Empty if nothing is known.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, count)) in self.functions.iter().enumerate() {
            f.write_str(if at == 0 { "; in " } else { ", called by " })?;
            write!(f, "`{name}`")?;
            if *count > 1 {
                write!(f, " ({count} times in a row)")?;
            }
        }
        if self.is_nameless {
            f.write_str(
                "; the component has no function names that would say where (Rust: set `strip = \"debuginfo\"` in \
                 the release profile; C: compile with -g)",
            )?;
        }
        if !self.said.is_empty() {
            write!(f, "; it wrote to stderr: {}", self.said.join(" | "))?;
        }
        Ok(())
    }
}

/// Collapses consecutive equal names into one with their number.
fn counted(names: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for name in names {
        let is_full = counted.len() == MAX_FUNCTIONS;
        match counted.last_mut() {
            Some((last, count)) if *last == name => *count += 1,
            _ if is_full => break,
            _ => counted.push((name, 1)),
        }
    }
    counted
}

/// The functions in the stack of a JavaScript exception, innermost first. QuickJS's runtime prints them as
/// `stack: Some("    at rule (/src/rule.js:3:37)\n    at …")`, with `\` and `n` for a line ending.
fn javascript(said: &[String]) -> impl Iterator<Item = String> {
    said.iter()
        .flat_map(|line| line.split("\\n"))
        .filter_map(|frame| {
            let frame = frame.rsplit_once('"').map_or(frame, |(_, frame)| frame);
            let (name, place) = frame.trim_start().strip_prefix("at ")?.split_once(" (")?;
            let is_in_a_file = place.contains(".js:");
            let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
            (is_in_a_file && is_name).then(|| printable(name, MAX_NAME))
        })
}

/// One frame of a guest's stack.
struct Frame {
    name: Option<String>,
    is_glue: bool,
    is_runtime: bool,
}

impl Frame {
    fn of(frame: &FrameInfo) -> Self {
        Self::new(frame.module().name(), frame.func_name())
    }

    /// Whether it is a component's export, named `interface#function`.
    fn is_export(&self) -> bool {
        self.name.as_deref().is_some_and(is_export)
    }

    fn new(module: Option<&str>, name: Option<&str>) -> Self {
        let name = name.map(|name| {
            // `#` removes the hash that the compiler appends.
            let demangled = try_demangle(name).map(|name| format!("{name:#}"));
            printable(demangled.as_deref().unwrap_or(name), MAX_NAME)
        });
        let module = module.unwrap_or_default();
        let begins = |prefixes: &[&str]| {
            name.as_deref()
                .is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        };
        Self {
            is_glue: GLUE_MODULES.iter().any(|glue| module.starts_with(glue))
                || begins(GLUE)
                || name.as_deref().is_some_and(|name| {
                    is_export(name)
                        || ["::_export_", "::__export_", "::wit_import"]
                            .iter()
                            .any(|glue| name.contains(glue))
                }),
            is_runtime: begins(RUNTIME) || name.as_deref().is_some_and(|name| RUNTIME_NAMES.contains(&name)),
            name,
        }
    }
}

/// Rust's closures also have `#` in their names, after a path with `::`.
fn is_export(name: &str) -> bool {
    name.split_once('#')
        .is_some_and(|(interface, _)| interface.contains('/') && !interface.contains("::"))
}

/// The end of the guest's stderr, without empty lines and hints.
fn tidy(said: Vec<String>) -> Vec<String> {
    let mut left = MAX_SAID;
    let mut kept: Vec<String> = said
        .into_iter()
        .map(|line| line.trim_end().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE"))
        .rev()
        .map_while(|line| {
            let line = printable(&line, left);
            left = left.checked_sub(line.len())?;
            (left > 0).then_some(line)
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::{Frame, MAX_FUNCTIONS, MAX_SAID, Trace};

    fn trace(frames: &[(&str, Option<&str>)], said: &[&str]) -> String {
        let frames = frames
            .iter()
            .map(|(module, name)| Frame::new(Some(module), *name))
            .collect();
        Trace::new(frames, said.iter().map(|line| (*line).to_owned()).collect()).to_string()
    }

    #[test]
    fn the_authors_functions_are_named_innermost_first() {
        let said = trace(
            &[
                ("roles", Some("abort")),
                ("roles", Some("__rustc[abc]::rust_panic")),
                ("roles", Some("std::panicking::panic_with_hook")),
                ("roles", Some("_ZN4core9panicking5panic17h0123456789abcdefE")),
                ("roles", Some("_ZN5roles5rules5parse17h0123456789abcdefE")),
                ("roles", Some("roles::answer::{closure#0}")),
                (
                    "roles",
                    Some("roles::exports::auth_gateway::_export_get_permissions_cabi"),
                ),
                (
                    "roles",
                    Some("auth-gateway:plugin/permission-provider@1.0.0#get-permissions"),
                ),
                ("wit-component:shim", Some("whatever")),
            ],
            &[],
        );
        assert_eq!(
            said,
            "; in `roles::rules::parse`, called by `roles::answer::{closure#0}`"
        );
    }

    #[test]
    fn recursion_is_counted() {
        let frames = vec![("m", Some("again")); 20];
        assert_eq!(trace(&frames, &[]), "; in `again` (20 times in a row)");
        let two: Vec<_> = (0..100)
            .map(|i| ("m", Some(if i % 2 == 0 { "a" } else { "b" })))
            .collect();
        assert_eq!(trace(&two, &[]).matches('`').count(), 2 * MAX_FUNCTIONS);
    }

    #[test]
    fn other_functions_are_named_if_the_author_has_none() {
        assert_eq!(
            trace(
                &[
                    ("m", Some("abort")),
                    ("m", Some("roles::exports::_export_get_permissions_cabi")),
                    ("m", Some("a:b/c@1.0.0#export"))
                ],
                &[]
            ),
            "; in `a:b/c@1.0.0#export`"
        );
        assert_eq!(trace(&[("m", Some("abort"))], &[]), "; in `abort`");
        assert_eq!(trace(&[("m", Some("cabi_realloc"))], &[]), "; in `cabi_realloc`");
        assert_eq!(trace(&[], &[]), "");
    }

    #[test]
    fn a_nameless_component_gets_advice() {
        let said = trace(&[("m", None), ("m", None)], &[]);
        assert!(
            said.contains("no function names") && said.contains("strip = "),
            "{said}"
        );
        assert!(!trace(&[("m", None), ("m", Some("f"))], &[]).contains("strip"));
        let glue = [("m", None), ("m", Some("cabi_realloc"))];
        assert!(trace(&glue, &[]).contains("strip") && !trace(&glue, &[]).contains("cabi"));
    }

    #[test]
    fn u6_a_javascript_exception_names_its_functions() {
        let exception = r#"Exception { message: Some("at (last) \"x\""), stack: Some("    at deep (/src/rule.js:8:69)\n    at deep (/src/rule.js:8:70)\n    at map (native)\n    at mayEdit (/src/rule.js:3:41)\n") })"#;
        let said = trace(
            &[("m", None), ("m", None)],
            &[
                "thread '<unnamed>' (1) panicked at interpreter.rs:51:31:",
                exception,
            ],
        );
        assert!(
            said.starts_with("; in `deep` (2 times in a row), called by `mayEdit`; it wrote to stderr: "),
            "{said}"
        );
        // The component's own names take precedence, and text that only looks like a stack is ignored.
        assert!(trace(&[("m", Some("f"))], &[exception]).starts_with("; in `f`; "));
        for words in [
            "at home (in bed)",
            "at  (/src/a.js:1:1)",
            "look at x (/src/a.js:1:1)",
            "at a b (c.js:1)",
        ] {
            let said = trace(&[("m", None)], &[words]);
            assert!(
                said.starts_with("; the component has no function names"),
                "{words}: {said}"
            );
        }
        let many = "at f(".repeat(3)
            + &(0..1000)
                .map(|n| format!("\\n at f{n} (a.js:1)"))
                .collect::<String>();
        assert!(trace(&[("m", None)], &[&many]).matches('`').count() <= 2 * MAX_FUNCTIONS);
    }

    #[test]
    fn the_guests_own_words_are_shown_and_harmless() {
        let panic = [
            "",
            "thread 'main' panicked at src/lib.rs:1:2:",
            "boom\u{1b}[2J",
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        ];
        assert_eq!(
            trace(&[], &panic),
            "; it wrote to stderr: thread 'main' panicked at src/lib.rs:1:2: | boom\\u{1b}[2J"
        );
        let long = "x".repeat(10_000);
        assert!(trace(&[], &[&long, "the end"]).len() < MAX_SAID + 100);
        assert!(trace(&[], &[&long, "the end"]).ends_with("the end"));
        let name = "n".repeat(10_000) + "\n";
        assert!(trace(&[("m", Some(&name))], &[]).len() < 200);
    }
}
