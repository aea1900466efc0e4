//! Component files that replace a serving plugin: the host rejects a file with one printable line, and the old
//! generation keeps serving; or it accepts the file, which answers or fails as plugins may.
//!
//! The first byte selects the kind of file: the bytes that follow, a component or a module generated from them, or one
//! of the project's guests with some bytes replaced.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::Unstructured;
use gateway_host::{CompileOptions, HostOptions, PluginHost, PluginSet, PluginStatus};
use gateway_model::{User, UserId};
use gateway_sandbox::{CallError, Grant, Limits, Network, PluginConfig, ScratchValues, UserLookup};
use libfuzzer_sys::{Corpus, fuzz_target};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use wasm_smith::{Component, Config, Module};

/// The largest file, in bytes: larger ones are slow to compile and find nothing new.
const MAX_FILE: usize = 64 << 10;
const SHELL: &str = include_str!("../../tests/guests/wat/shell.wat");
/// The modules that the shell turns into components; the first is a provider that grants no permissions.
const GUESTS: [&str; 6] = [
    include_str!("../../tests/guests/wat/plain.wat"),
    include_str!("../../tests/guests/wat/plant.wat"),
    include_str!("../../tests/guests/wat/canary_wat.wat"),
    include_str!("../../tests/guests/wat/multi_memory.wat"),
    include_str!("../../tests/guests/wat/bad_variant.wat"),
    include_str!("../../tests/guests/wat/http_import.wat"),
];

struct Fixture {
    runtime: Runtime,
    host: PluginHost,
    set: PluginSet,
    guests: Vec<Vec<u8>>,
    file: PathBuf,
    _directory: TempDir,
}

/// There are no users.
#[derive(Debug)]
struct Nobody;

#[async_trait::async_trait]
impl UserLookup for Nobody {
    async fn lookup_user(&self, _: &UserId) -> Result<Option<User>, String> {
        Ok(None)
    }
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let plugin_dir = directory.path().join("plugins");
    fs::create_dir(&plugin_dir).expect("a directory");
    let guests: Vec<Vec<u8>> = GUESTS
        .iter()
        .map(|guest| wat::parse_str(SHELL.replace("(;guest;)", guest)).expect("a component"))
        .collect();
    let file = plugin_dir.join("p.wasm");
    fs::write(&file, &guests[0]).expect("written");
    let limits = Limits {
        fuel: 1_000_000,
        deadline: Duration::from_secs(2),
        memory: 8 << 20,
        ..Limits::default()
    };
    let config = PluginConfig {
        grants: Grant::ALL.iter().copied().collect(),
        limits,
        prepared: 0,
        ..PluginConfig::default()
    };
    let set = PluginSet {
        plugins: [("p".to_owned(), config)].into(),
        services: [("s".to_owned(), "p".to_owned())].into(),
        ..PluginSet::default()
    };
    let options = HostOptions {
        plugin_dir,
        cache_dir: directory.path().join("cache"),
        guest_threads: 1,
        users: Arc::new(Nobody),
        values: Arc::new(ScratchValues::default()),
        network: Arc::new(Network::system()),
        compile: CompileOptions::default(),
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let host = runtime
        .block_on(PluginHost::start(options, set.clone()))
        .expect("a host");
    let fixture = Fixture {
        runtime,
        host,
        set,
        guests,
        file,
        _directory: directory,
    };
    assert_eq!(fixture.status().problem, None);
    fixture
});

fuzz_target!(|data: &[u8]| -> Corpus {
    let fixture = &*FIXTURE;
    let Some(file) = fixture.file_of(data).filter(|file| file.len() <= MAX_FILE) else {
        return Corpus::Reject;
    };
    let before = fixture.status();
    fixture.put(&file);
    let after = fixture.status();
    match &after.problem {
        Some(problem) => {
            assert!(
                !problem.is_empty() && !problem.contains(char::is_control),
                "{problem:?}"
            );
            assert!(problem.len() < 4096, "{} bytes", problem.len());
            assert_eq!(
                after.generation, before.generation,
                "refused, and yet the old one does not serve"
            );
            assert!(
                fixture.asks().is_ok_and(|count| count == 0),
                "the old generation does not answer"
            );
        }
        None => {
            assert!(after.generation.is_some(), "taken, and nothing serves");
            // Any answer is right, as long as there is one.
            let _ = fixture.asks();
        }
    }
    if after.generation != before.generation {
        fixture.put(&fixture.guests[0]);
        let restored = fixture.status();
        assert_eq!(restored.problem, None);
        assert!(
            fixture.asks().is_ok_and(|count| count == 0),
            "the good component does not serve again"
        );
    }
    Corpus::Keep
});

impl Fixture {
    fn file_of(&self, data: &[u8]) -> Option<Vec<u8>> {
        let (kind, data) = data.split_first()?;
        match kind % 4 {
            0 => Some(data.to_vec()),
            1 => {
                let config = Config {
                    max_components: 2,
                    ..Config::default()
                };
                let component = Component::new(config, &mut Unstructured::new(data));
                component.ok().map(|component| component.to_bytes())
            }
            2 => {
                let module = Module::new(Config::default(), &mut Unstructured::new(data))
                    .ok()?
                    .to_bytes();
                // A component whose only section is a core module.
                let mut component = b"\0asm\x0d\0\x01\0\x01".to_vec();
                let mut length = module.len();
                while length >= 0x80 {
                    component.push(0x80 | (length & 0x7f) as u8);
                    length >>= 7;
                }
                component.push(length as u8);
                component.extend(module);
                Some(component)
            }
            _ => {
                let (guest, edits) = data.split_first()?;
                let mut file = self.guests[usize::from(*guest) % self.guests.len()].clone();
                for edit in edits.chunks_exact(3).take(16) {
                    let [low, high, byte] = *edit else { return None };
                    let at = usize::from(u16::from_le_bytes([low, high])) % file.len();
                    file[at] = byte;
                }
                Some(file)
            }
        }
    }

    /// Replaces the file, and waits for the result.
    fn put(&self, file: &[u8]) {
        let new = self.file.with_extension("new");
        fs::write(&new, file).expect("written");
        fs::rename(&new, &self.file).expect("in place");
        self.runtime.block_on(self.host.reconfigure(self.set.clone()));
    }

    fn status(&self) -> PluginStatus {
        self.host.status().pop().expect("one plugin")
    }

    /// The number of permissions in the answer.
    fn asks(&self) -> Result<usize, CallError> {
        let user = UserId::from("u");
        let asked = self.host.get_permissions("s", &user);
        let answer = self.runtime.block_on(asked)?;
        Ok(answer.permissions.len())
    }
}
