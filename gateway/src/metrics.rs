//! Figures for Prometheus: what is counted, in which buckets, and handles that are cheap to count with.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use metrics::{Counter, Histogram, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// From ten microseconds, a call of a small plugin, to what a person notices.
const SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 5.0,
];
const BYTES: &[f64] = &[
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
];
const FUEL: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
/// Between two rounds of tidying what histograms have collected.
const UPKEEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

/// The figures. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
    started: Instant,
}

/// Starts counting, for the whole process. Must be called within a tokio runtime.
///
/// # Errors
/// When counting has been started before.
pub fn install() -> Result<Metrics> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("metrics cannot be started")?;
    describe();
    metrics::gauge!("gateway_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut rounds = tokio::time::interval(UPKEEP);
        loop {
            rounds.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(Metrics {
        handle,
        started: Instant::now(),
    })
}

/// Histograms in buckets, by the unit that a name ends in.
fn recorder() -> Result<PrometheusRecorder> {
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
        .set_buckets_for_metric(Matcher::Suffix("_fuel".to_owned()), FUEL)?
        .build_recorder())
}

fn describe() {
    metrics::describe_counter!(
        "gateway_http_requests_total",
        Unit::Count,
        "Requests, by route, method and status"
    );
    metrics::describe_histogram!(
        "gateway_http_request_seconds",
        Unit::Seconds,
        "Time to answer a request, by route"
    );
    metrics::describe_counter!(
        "gateway_sign_ins_total",
        Unit::Count,
        "Sign-ins, by provider and how they ended"
    );
    metrics::describe_counter!(
        "gateway_provider_sign_outs_total",
        Unit::Count,
        "Logout tokens that providers have sent, by provider and what came of them"
    );
    metrics::describe_counter!(
        "gateway_permission_tokens_total",
        Unit::Count,
        "Permission tokens that were given, by whether they were signed for it or signed before and given again"
    );
    metrics::describe_counter!(
        "gateway_rate_limited_total",
        Unit::Count,
        "Requests that were refused because their address had asked too often, by limit"
    );
    metrics::describe_counter!(
        "gateway_connections_closed_for_room_total",
        Unit::Count,
        "Connections that were idle or slow and made room for others"
    );
    metrics::describe_counter!(
        crate::telemetry::DROPPED,
        Unit::Count,
        "Lines of the log that were dropped because stderr was not read fast enough"
    );
    metrics::describe_gauge!("gateway_build_info", "1, with the version as a label");
    metrics::describe_gauge!(
        "gateway_uptime_seconds",
        Unit::Seconds,
        "Time since the process began to serve"
    );
    metrics::describe_gauge!(
        "process_resident_memory_bytes",
        Unit::Bytes,
        "Memory of the process that is in RAM"
    );
}

impl Metrics {
    /// All figures, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        metrics::gauge!("gateway_uptime_seconds").set(self.started.elapsed().as_secs_f64());
        if let Some(bytes) = resident_memory() {
            metrics::gauge!("process_resident_memory_bytes").set(bytes);
        }
        self.handle.render()
    }
}

/// In bytes; nothing where the system has no `/proc`.
fn resident_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Counts requests. Looking a counter up by its labels costs more than counting, so each is looked up
/// once and kept.
#[derive(Default)]
pub struct HttpMetrics(ArcSwap<HashMap<Key, Handles>>);

type Key = (&'static str, &'static str, u16);

#[derive(Clone)]
struct Handles {
    count: Counter,
    seconds: Histogram,
}

impl HttpMetrics {
    /// Counts nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a request: its route and method, neither of them made up by the caller, and its status.
    pub fn record(&self, route: &'static str, method: &'static str, status: u16, elapsed: Duration) {
        let key = (route, method, status);
        if let Some(handles) = self.0.load().get(&key) {
            handles.record(elapsed);
            return;
        }
        let handles = Handles {
            count: metrics::counter!("gateway_http_requests_total", "route" => route, "method" => method, "status" => status.to_string()),
            seconds: metrics::histogram!("gateway_http_request_seconds", "route" => route),
        };
        handles.record(elapsed);
        self.0.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(key, handles.clone());
            Arc::new(known)
        });
    }
}

impl Handles {
    fn record(&self, elapsed: Duration) {
        self.count.increment(1);
        self.seconds.record(elapsed.as_secs_f64());
    }
}

impl std::fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpMetrics")
            .field("series", &self.0.load().len())
            .finish()
    }
}
