//! A component's metadata, read from its bytes alone, so that a file that cannot serve has it too.

use wasmparser::{BinaryReaderError, Encoding, KnownCustom, Name, Parser, Payload};

/// The most imports, and the most exports, whose names are kept. Real components have a few dozen.
const MAX_NAMES: usize = 1000;
/// The deepest nesting of modules and components that is read.
const MAX_NESTING: usize = 100;
/// The default page size of a memory, as a power of two.
const PAGE_LOG2: u32 = 16;

/// The contents of a component, with all the modules and components in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Names of the component's own imports and exports, in its order.
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
    pub(super) modules: usize,
    pub(super) memories: usize,
    /// Initial bytes of the memories.
    pub(super) memory_bytes: u64,
    pub(super) tables: usize,
    /// Initial elements of the tables.
    pub(super) table_elements: u64,
    /// Whether the module with most code names its functions.
    pub(super) has_names: bool,
}

/// A module or component that is being read.
struct Open {
    is_module: bool,
    /// Bytes of its functions.
    code: u32,
    has_names: bool,
}

/// Reads a component as far as possible. After an error, the facts are those before it.
pub(super) fn read(bytes: &[u8]) -> (Facts, Result<(), BinaryReaderError>) {
    let mut facts = Facts::default();
    let end = fill(&mut facts, bytes);
    (facts, end)
}

fn fill(facts: &mut Facts, bytes: &[u8]) -> Result<(), BinaryReaderError> {
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
                    facts.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if open.len() == 1 => {
                for export in exports
                    .into_iter()
                    .take(MAX_NAMES.saturating_sub(facts.exports.len()))
                {
                    facts.exports.push(export?.name.name.to_owned());
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

    use super::read;

    fn facts(text: &str) -> super::Facts {
        let engine = wasmtime::Engine::default();
        let bytes = wat::parse_str(text).unwrap();
        // Through the engine, so that the text is seen to be a component.
        wasmtime::component::Component::new(&engine, &bytes).unwrap();
        let (facts, end) = read(&bytes);
        end.unwrap();
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
        assert_eq!(facts.imports, ["a:b/c@1.0.0"]);
        assert_eq!(facts.exports, ["d:e/f@2.0.0"]);
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
            let _ = read(&bytes);
            let _ = read(&[b"\0asm\x0d\0\x01\0".as_slice(), &bytes].concat());
            let _ = read(&[b"\0asm\x01\0\0\0".as_slice(), &bytes].concat());
        }
    }
}
