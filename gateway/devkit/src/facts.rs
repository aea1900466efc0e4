//! A component's metadata, read from its bytes alone, so that a file that cannot serve has it too.

use gateway_sandbox::PluginConfig;
use wasmparser::{BinaryReaderError, Encoding, KnownCustom, Name, Parser, Payload};

use crate::report::{self, Report};

/// The most imports, and the most exports, whose names are kept. Real components have a few dozen.
const MAX_NAMES: usize = 1000;
/// The deepest nesting of modules and components that is read.
const MAX_NESTING: usize = 100;
/// The default page size of a memory, as a power of two.
const PAGE_LOG2: u32 = 16;

/// A module or component that is being read.
struct Open {
    is_module: bool,
    /// Bytes of its functions.
    code: u32,
    has_names: bool,
}

/// Adds a component's metadata to its report. After an error, this is the metadata before the error.
pub(super) fn read(
    report: &mut Report,
    bytes: &[u8],
    config: &PluginConfig,
) -> Result<(), BinaryReaderError> {
    let end = fill(report, bytes, config);
    report.grants_needed = report.imports.iter().filter_map(|import| import.grant).collect();
    report.grants_missing = &report.grants_needed - &config.grants;
    end
}

fn fill(facts: &mut Report, bytes: &[u8], config: &PluginConfig) -> Result<(), BinaryReaderError> {
    let mut open: Vec<Open> = Vec::new();
    let mut most = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            // The compiler rejects deeper nesting.
            Payload::Version { .. } if open.len() == MAX_NESTING => return Ok(()),
            Payload::Version { encoding, .. } => open.push(Open {
                is_module: encoding == Encoding::Module,
                code: 0,
                has_names: false,
            }),
            Payload::ComponentImportSection(imports) if open.len() == 1 => {
                for import in imports
                    .into_iter()
                    .take(MAX_NAMES.saturating_sub(facts.imports.len()))
                {
                    facts.imports.push(report::import(import?.name.name, config));
                }
            }
            Payload::ComponentExportSection(exports) if open.len() == 1 => {
                for export in exports
                    .into_iter()
                    .take(MAX_NAMES.saturating_sub(facts.exports.len()))
                {
                    facts.exports.push(report::export(export?.name.name));
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory?;
                    let page = 1_u64
                        .checked_shl(memory.page_size_log2.unwrap_or(PAGE_LOG2))
                        .unwrap_or(u64::MAX);
                    facts.memories += 1;
                    facts.memory_bytes = facts
                        .memory_bytes
                        .saturating_add(memory.initial.saturating_mul(page));
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    facts.tables += 1;
                    facts.table_elements = facts.table_elements.saturating_add(table?.ty.initial);
                }
            }
            Payload::CustomSection(section) => {
                if let (KnownCustom::Name(names), Some(module)) = (section.as_known(), open.last_mut()) {
                    // A broken name section is ignored: nothing else depends on it.
                    module.has_names |= names
                        .into_iter()
                        .any(|name| matches!(name, Ok(Name::Function(functions)) if functions.count() > 0));
                }
            }
            Payload::CodeSectionStart { size, .. } => {
                if let Some(module) = open.last_mut() {
                    module.code = size;
                }
            }
            Payload::End(_) => {
                if let Some(closed) = open.pop()
                    && closed.is_module
                {
                    facts.modules += 1;
                    if most.is_none_or(|most| closed.code > most) {
                        (most, facts.has_names) = (Some(closed.code), closed.has_names);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use gateway_sandbox::PluginConfig;

    use super::read;
    use crate::report::Report;

    fn facts(text: &str) -> Report {
        let engine = wasmtime::Engine::default();
        let bytes = wat::parse_str(text).unwrap();
        // Through the engine, so that the text is seen to be a component.
        wasmtime::component::Component::new(&engine, &bytes).unwrap();
        let mut facts = Report::default();
        read(&mut facts, &bytes, &PluginConfig::default()).unwrap();
        facts
    }

    #[test]
    fn memories_and_tables_are_added_up_over_all_modules() {
        let facts = facts(
            r#"(component
                (import "a:b/c@1.0.0" (instance))
                (core module (memory 1) (memory 2) (table 10 funcref))
                (component
                    (import "inner" (instance))
                    (core module (import "x" "memory" (memory 100)) (table 5 funcref) (memory 3)))
                (instance $i)
                (export "d:e/f@2.0.0" (instance $i)))"#,
        );
        assert_eq!(
            (facts.modules, facts.memories, facts.memory_bytes),
            (2, 3, 6 << 16)
        );
        assert_eq!((facts.tables, facts.table_elements), (2, 15));
        assert_eq!(facts.imports.len(), 1);
        assert_eq!(facts.imports[0].name, "a:b/c@1.0.0");
        assert_eq!(facts.exports.len(), 1);
        assert_eq!(facts.exports[0].name, "d:e/f@2.0.0");
    }

    #[test]
    fn the_names_of_the_module_with_most_code_count() {
        let named = r#"(core module (func $a) (memory 1) (data (i32.const 0) "more than all the code of the other one"))"#;
        let nameless = format!("(core module {})", "(func)".repeat(10));
        assert!(facts(&format!("(component {named})")).has_names);
        assert!(!facts(&format!("(component {nameless})")).has_names);
        assert!(!facts(&format!("(component {named} {nameless} {named})")).has_names);
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in any::<Vec<u8>>()) {
            for start in ["", "\0asm\x0d\0\x01\0", "\0asm\x01\0\0\0"] {
                let bytes = [start.as_bytes(), &bytes].concat();
                let _ = read(&mut Report::default(), &bytes, &PluginConfig::default());
            }
        }
    }
}
