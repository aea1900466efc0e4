//! What Prometheus would read.

use std::time::Duration;

use super::{HttpMetrics, describe, recorder, resident_memory};

#[test]
fn requests_are_counted_by_route_method_and_status() {
    let recorder = recorder().unwrap();
    let text = metrics::with_local_recorder(&recorder, || {
        describe();
        let requests = HttpMetrics::new();
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
        "# HELP gateway_http_requests_total Requests, by route, method and status",
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
