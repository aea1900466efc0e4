//! Requests that guests send, against real listeners on loopback: what is allowed, what is denied and
//! reaches nobody, what is cut off.

mod allowed;
mod lifetime;
mod limits;
mod meanwhile;
mod names;
mod reach;
mod server;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gateway_host::PluginSet;
use gateway_sandbox::{HttpConfig, Network, Resolver};
use serde_json::Value;
use test_guests::IMPORTS_HTTP;

use crate::support::{Fixture, log, metrics, set};

/// A resolver that says what a test wants: for each name its answers in order, the last of them again and
/// again.
#[derive(Debug, Default)]
struct Names {
    answers: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

impl Names {
    /// A name's answers, each with its addresses.
    fn new(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let addresses = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        let answers = names
            .iter()
            .map(|(name, answers)| ((*name).to_owned(), answers.iter().map(addresses).collect()))
            .collect();
        Arc::new(Self {
            answers: Mutex::new(answers),
            asked: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if name == "never.test" {
            return std::future::pending().await;
        }
        let mut answers = self.answers.lock().unwrap();
        let answers = answers
            .get_mut(name)
            .ok_or_else(|| io::Error::other("nobody knows this name"))?;
        Ok(if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        })
    }
}

/// A host with one plugin, [`IMPORTS_HTTP`], with a unique name: log and metrics are the process's.
struct Plugin {
    fixture: Fixture,
    name: &'static str,
}

/// The plugin's grant.
fn config(allow: &[&str], allow_private: &[&str]) -> HttpConfig {
    HttpConfig {
        allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
        allow_private: allow_private.iter().map(|text| text.parse().unwrap()).collect(),
        // Debug builds on busy machines: only tests of the timeout want a short one.
        timeout: std::time::Duration::from_secs(60),
        ..HttpConfig::default()
    }
}

fn set_of(name: &str, http: HttpConfig) -> PluginSet {
    let mut set = set(&[("s", name)], &[]);
    set.plugins.get_mut(name).unwrap().http = http;
    set
}

impl Plugin {
    /// In a network without names.
    async fn new(name: &'static str, http: HttpConfig) -> Self {
        Self::with_names(name, http, Names::new(&[])).await
    }

    async fn with_names(name: &'static str, http: HttpConfig, names: Arc<Names>) -> Self {
        Self::with(name, set_of(name, http), Network::new(names, Vec::new())).await
    }

    async fn with(name: &'static str, set: PluginSet, network: Network) -> Self {
        let fixture = Fixture::with_network(&[(name, IMPORTS_HTTP)], set, network).await;
        assert_eq!(fixture.status(name).problem, None);
        Self { fixture, name }
    }

    /// The guest's answer to a command.
    async fn tell(&self, command: &str) -> Value {
        self.fixture.ask_for("s", command).await.unwrap()
    }

    /// The guest's error, which must be there.
    async fn error(&self, command: &str) -> String {
        let answer = self.tell(command).await;
        answer["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{command}: {answer}"))
            .to_owned()
    }

    /// The lines that the log has about the plugin's requests in calls, without trials.
    fn logged(&self) -> Vec<Value> {
        log()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].take())
            .filter(|fields| fields["plugin"] == self.name)
            .filter(|fields| {
                let message = fields["message"].as_str().unwrap_or_default();
                message.starts_with("the plugin's HTTP request") && !message.contains("trial")
            })
            .collect()
    }

    /// How many requests ended so, trials counted as well.
    fn counted(&self, outcome: &str) -> u64 {
        let name = self.name;
        let begins = format!(r#"gateway_plugin_http_requests_total{{plugin="{name}",outcome="{outcome}"}} "#);
        metrics()
            .render()
            .lines()
            .find_map(|line| line.strip_prefix(&begins)?.parse().ok())
            .unwrap_or(0)
    }
}
