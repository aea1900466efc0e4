//! Swaps and rollbacks of a provider whose code is cached, while it is asked without pause.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use test_guests::{V1, V2};

use crate::load::{self, Requests};
use crate::setup::{self, Setup};
use crate::spread;

/// Callers beside the one that looks for the new version.
const CALLERS: usize = 4;

/// Measures for so long, half of it swaps.
///
/// # Errors
/// When a request fails or a version does not show.
pub(crate) async fn measure(setup: &Setup, time: Duration) -> Result<()> {
    setup.place("swapped", "swapped", V1)?;
    let configuration = "[service.swapped]\nprovider = \"swapped\"\n";
    let gateway = setup.gateway("swapped", configuration).await?;
    let ask = setup::get("/auth/authorize?service=swapped", &setup.tokens[0]);
    let version = async || -> Result<bool> {
        let answer = load::body_of(gateway.address, &ask).await?;
        ensure!(answer.contains("\"token\":\""), "unexpected answer: {answer}");
        Ok(answer.contains("\"version\":2"))
    };
    let shows = async |second: bool, since: Instant| -> Result<Duration> {
        while version().await? != second {
            ensure!(
                since.elapsed() < Duration::from_secs(10),
                "a version does not show"
            );
        }
        Ok(since.elapsed())
    };
    // Both are compiled before anything counts.
    for (component, second) in [(V2, true), (V1, false)] {
        setup.place("swapped", "swapped", component)?;
        shows(second, Instant::now()).await?;
    }

    let same = Requests::Same(ask.as_str().into());
    let load = tokio::spawn(load::rate(gateway.address, same, CALLERS, time, "\"version\":"));
    let begin = Instant::now();
    let mut swaps = Vec::new();
    let mut second = false;
    while begin.elapsed() < time / 2 {
        second = !second;
        let placed = Instant::now();
        setup.place("swapped", "swapped", if second { V2 } else { V1 })?;
        swaps.push(shows(second, placed).await?);
    }

    let admin = Admin::new(setup)?;
    let mut rollbacks = Vec::new();
    while begin.elapsed() < time {
        // One that is like no other, so that there is always one before it.
        let mut component = V2.to_vec();
        component.extend([0, 3, 1, b'n', u8::try_from(rollbacks.len() % 256)?]);
        let before = admin.status().await?;
        setup.place("swapped", "swapped", &component)?;
        let placed = loop {
            let status = admin.status().await?;
            if status["generation"] != before["generation"] && status["rolled_back"] == false {
                break status;
            }
        };
        let asked = Instant::now();
        let status = admin.rollback().await?;
        rollbacks.push(asked.elapsed());
        ensure!(
            status["rolled_back"] == true && status["generation"] != placed["generation"],
            "not rolled back: {status}"
        );
    }
    let rate = load.await??;
    println!("Of a provider that answers {rate:.0} requests a second meanwhile, in milliseconds:");
    println!("| what | times | median | p99 | longest |");
    println!("|---|---|---|---|---|");
    println!(
        "| from a rename to the first new answer | {} | {} |",
        swaps.len(),
        spread(swaps)
    );
    println!(
        "| from asking for a rollback to the answer that it is in force | {} | {} |",
        rollbacks.len(),
        spread(rollbacks)
    );
    println!();
    Ok(())
}

/// The admin listener's client.
struct Admin {
    client: reqwest::Client,
    plugins: String,
    token: String,
}

impl Admin {
    fn new(setup: &Setup) -> Result<Self> {
        Ok(Self {
            client: reqwest::Client::new(),
            plugins: format!("http://{}/plugins", setup.admin),
            token: std::fs::read_to_string(setup.path("data").join("admin-token"))?,
        })
    }

    /// How the plugin stands.
    async fn status(&self) -> Result<Value> {
        let answer = self.ask(self.client.get(&self.plugins)).await?;
        Ok(answer["plugins"][0].clone())
    }

    /// Rolls it back, and gives how it stands then.
    async fn rollback(&self) -> Result<Value> {
        self.ask(self.client.post(format!("{}/swapped/rollback", self.plugins)))
            .await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let answer = request.bearer_auth(self.token.trim()).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
