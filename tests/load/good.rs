//! A well-behaved client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Method, StatusCode};
use tokio::task::JoinHandle;

use support::Gateway;

/// Sends requests, each on a new connection, until it is stopped.
pub(crate) struct GoodClient {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<u32>,
}

impl GoodClient {
    /// Starts. Fails at the first wrong answer.
    pub(crate) async fn begin(gateway: &Gateway) -> Self {
        let token = gateway.sign_in("good").await;
        let stop = Arc::new(AtomicBool::new(false));
        let (browser, stopped) = (gateway.browser(), Arc::clone(&stop));
        let asking = tokio::spawn(async move {
            let mut answered = 0;
            while !stopped.load(Ordering::Relaxed) {
                let path = match answered % 3 {
                    0 => "/auth/check",
                    1 => "/auth/authorize?service=example",
                    _ => "/auth/public-key",
                };
                let request = browser
                    .request(Method::GET, path)
                    .bearer_auth(&token)
                    .header("connection", "close");
                let response = request
                    .send()
                    .await
                    .unwrap_or_else(|error| panic!("{path}, after {answered}: {error:?}"));
                let (status, text) = (response.status(), response.text().await.expect("text"));
                assert_eq!(status, StatusCode::OK, "{path}, after {answered}: {text}");
                let wanted =
                    ["\"authenticated\":true", "\"token\":\"", "BEGIN PUBLIC KEY"][answered as usize % 3];
                assert!(text.contains(wanted), "{path}, after {answered}: {text}");
                answered += 1;
            }
            answered
        });
        Self { stop, asking }
    }

    /// Stops, and returns the number of answers. All of them were right.
    pub(crate) async fn end(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        let answered = self.asking.await.expect("every answer was right");
        assert!(answered > 0, "it was never served");
        answered
    }
}
