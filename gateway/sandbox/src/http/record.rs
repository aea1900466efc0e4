//! Log lines and metrics of requests.

use std::sync::Arc;

use tokio::time::Instant;
use wasmtime_wasi_http::Error as WasiError;

use super::error::{Outcome, RequestError};
use super::{HttpOrigin, MAX_METHOD};
use crate::text::printable;

gateway_model::declare_metrics! {
    /// HTTP requests of the plugin
    Counter http_requests = "gateway_plugin_http_requests_total" {
        plugin,
        /// `ok` (whatever the status), `denied`, `failed`, `timeout`, `too_large`, `cancelled`
        outcome,
    }
    /// Time of an HTTP request that was not denied, its response included
    Histogram http_seconds = "gateway_plugin_http_seconds" { plugin }
}

/// A request under way. It is counted when dropped.
pub(super) struct Exchange {
    pub(super) plugin: Arc<str>,
    function: &'static str,
    method: String,
    pub(super) origin: Option<HttpOrigin>,
    pub(super) started: Instant,
    pub(super) outcome: Outcome,
}

impl Exchange {
    pub(super) fn begin(plugin: Arc<str>, function: &'static str, method: &http::Method) -> Self {
        Self {
            plugin,
            function,
            method: printable(method.as_str(), MAX_METHOD),
            origin: None,
            started: Instant::now(),
            outcome: Outcome::Cancelled,
        }
    }

    /// Ends the request with an error, logs it, and returns the error for the guest.
    pub(super) fn fail(&mut self, error: &RequestError) -> WasiError {
        // Never the path, a header or a body, because they may contain secrets.
        let origin = self.origin.as_ref().map(HttpOrigin::to_string);
        let code = self.fail_silently(error);
        let verb = if self.outcome == Outcome::Denied {
            "was denied"
        } else {
            "failed"
        };
        let reason = printable(&error.to_string(), 500);
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(
                    plugin = &*self.plugin,
                    function = self.function,
                    method = self.method,
                    origin,
                    "the plugin's HTTP request {verb}: {reason}"
                )
            };
        }
        // In a trial this is expected.
        if matches!(error, RequestError::NoNetwork) {
            emit!(info);
        } else {
            emit!(warn);
        }
        code
    }

    /// The same without a log line.
    pub(super) fn fail_silently(&mut self, error: &RequestError) -> WasiError {
        let code;
        (self.outcome, code) = error.classify();
        code
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        http_requests(Arc::clone(&self.plugin), self.outcome.name()).increment(1);
        if self.outcome != Outcome::Denied {
            http_seconds(Arc::clone(&self.plugin)).record(self.started.elapsed().as_secs_f64());
        }
    }
}
