//! Metrics for Prometheus: their declarations and buckets, and handles for cheap counting.
//!
//! A metric can be declared in any file with [`declare_metrics!`](gateway_model::declare_metrics).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use gateway_model::metric::{Kind, METRICS};
use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// From ten microseconds, the time of a call of a small plugin, to a wait that a person notices.
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
/// How often the recorder merges the samples of its histograms.
const UPKEEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

gateway_model::declare_metrics! {
    /// Requests
    Counter http_requests = "gateway_http_requests_total" { route, method, status }
    /// Time to answer a request
    Histogram http_seconds = "gateway_http_request_seconds" { route }
    /// Permission tokens in answers
    Counter permission_tokens = "gateway_permission_tokens_total" {
        /// `signed`, or `reused` (see `tokens.permission_reuse`)
        how,
    }
    /// Requests that exceeded a rate limit
    Counter rate_limited = "gateway_rate_limited_total" {
        /// `sign_in`, `update` or `backchannel_logout`
        limit,
    }
    /// Idle or slow connections that were closed to make room for others
    Counter closed_for_room = "gateway_connections_closed_for_room_total" {}
    /// Lines of the log that were dropped, because nobody read stderr fast enough or it could not be written
    Counter log_dropped = "gateway_log_dropped_total" {}
    /// Sign-ins
    Counter sign_ins = "gateway_sign_ins_total" {
        provider,
        /// `signed_in`, `rejected` (by a hook), `refused`, `upstream_failed`, `failed`
        outcome,
    }
    /// Logout tokens that providers sent
    Counter provider_sign_outs = "gateway_provider_sign_outs_total" {
        provider,
        /// `ended`, `nothing` (no session was named), `refused`, `failed`, `limited`
        outcome,
    }
    /// Always 1
    Gauge build_info = "gateway_build_info" { version }
    /// Time since the gateway started
    Gauge uptime = "gateway_uptime_seconds" {}
    /// Memory of the gateway that is in RAM
    Gauge memory = "process_resident_memory_bytes" {}
}

/// The metrics of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    started: Instant,
}

/// Starts counting for the whole process. Must be called once, within a tokio runtime.
pub(crate) fn install() -> Result<Metrics> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("metrics cannot be started")?;
    describe();
    build_info(env!("CARGO_PKG_VERSION")).set(1.0);
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

/// The unit at the end of a histogram's name selects its buckets.
fn recorder() -> Result<PrometheusRecorder> {
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
        .set_buckets_for_metric(Matcher::Suffix("_fuel".to_owned()), FUEL)?
        .build_recorder())
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

impl Metrics {
    /// Returns all metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        uptime().set(self.started.elapsed().as_secs_f64());
        if let Some(bytes) = resident_memory() {
            memory().set(bytes);
        }
        self.handle.render()
    }
}

/// In bytes. `None` on a system without `/proc`.
fn resident_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Counts requests. Looking up a counter by its labels costs more than counting, so the counters are kept.
#[derive(Debug, Default)]
pub struct HttpMetrics(ArcSwap<HashMap<Key, (Counter, Histogram)>>);

type Key = (&'static str, &'static str, u16);

impl HttpMetrics {
    /// Counts a request. `route` and `method` must be from a fixed set, because each value becomes a time series.
    pub fn record(&self, route: &'static str, method: &'static str, status: u16, elapsed: Duration) {
        let key = (route, method, status);
        let record = |(count, seconds): &(Counter, Histogram)| {
            count.increment(1);
            seconds.record(elapsed.as_secs_f64());
        };
        if let Some(handles) = self.0.load().get(&key) {
            return record(handles);
        }
        let handles = (
            http_requests(route, method, status.to_string()),
            http_seconds(route),
        );
        record(&handles);
        self.0.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(key, handles.clone());
            Arc::new(known)
        });
    }
}
