//! The text that Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use gateway_model::metric::{Kind, METRICS, Metric};

use super::{HttpMetrics, describe, recorder, resident_memory};

#[test]
fn docs_list_every_metric() {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    let by_name: BTreeMap<_, _> = METRICS.iter().map(|metric| (metric.name, metric)).collect();
    for metric in by_name.values() {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|(name, values)| match *values {
                "" => format!("`{name}`"),
                values => format!("`{name}`: {values}"),
            })
            .collect();
        let kind = format!("{:?}", metric.kind).to_lowercase();
        writeln!(
            table,
            "| `{}` | {kind} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help
        )
        .unwrap();
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|directory| directory.join("docs/operations.md"))
        .find(|file| file.exists())
        .unwrap();
    let text = std::fs::read_to_string(&docs).unwrap();
    let (before, rest) = text.split_once("| metric |").expect("a table of metrics");
    let end = rest.find("\n\n").unwrap() + 1;
    let up_to_date = format!("{before}{table}{}", &rest[end..]);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&docs, up_to_date).unwrap();
        return;
    }
    assert!(
        text == up_to_date,
        "the table of metrics is old: run `UPDATE_DOCS=1 cargo test -p gateway --lib metrics`, which writes\n{table}"
    );
}

#[test]
fn metric_names_are_unique_and_match_their_type() {
    let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len());
    for Metric { name, kind, .. } in METRICS {
        let has_buckets = ["_seconds", "_bytes", "_fuel"]
            .iter()
            .any(|end| name.ends_with(end));
        assert!(*kind != Kind::Histogram || has_buckets, "{name}");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
    }
}

#[test]
fn requests_are_counted_by_route_method_and_status() {
    let recorder = recorder().unwrap();
    let text = metrics::with_local_recorder(&recorder, || {
        describe();
        let requests = HttpMetrics::default();
        for (status, micros) in [(200, 30), (200, 700), (400, 30)] {
            requests.record("/auth/check", "GET", status, Duration::from_micros(micros));
        }
        recorder.handle().render()
    });
    for line in [
        r#"gateway_http_requests_total{route="/auth/check",method="GET",status="200"} 2"#,
        r#"gateway_http_requests_total{route="/auth/check",method="GET",status="400"} 1"#,
        r#"gateway_http_request_seconds_bucket{route="/auth/check",le="0.000025"} 0"#,
        r#"gateway_http_request_seconds_bucket{route="/auth/check",le="0.00005"} 2"#,
        r#"gateway_http_request_seconds_bucket{route="/auth/check",le="0.001"} 3"#,
        r#"gateway_http_request_seconds_bucket{route="/auth/check",le="+Inf"} 3"#,
        r#"gateway_http_request_seconds_count{route="/auth/check"} 3"#,
        "# TYPE gateway_http_request_seconds histogram",
        "# HELP gateway_http_requests_total Requests",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn each_unit_has_its_buckets() {
    let recorder = recorder().unwrap();
    let text = metrics::with_local_recorder(&recorder, || {
        metrics::histogram!("a_seconds").record(1.0);
        metrics::histogram!("a_bytes").record(1.0);
        metrics::histogram!("a_fuel").record(1.0);
        recorder.handle().render()
    });
    for name in ["a_seconds", "a_bytes", "a_fuel"] {
        assert!(text.contains(&format!("# TYPE {name} histogram")), "{text}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn memory_is_read_in_bytes() {
    // Less than a test process has; more than it has KiB of.
    assert!(resident_memory().unwrap() > 1_000_000.0);
}
