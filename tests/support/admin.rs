//! A client of the admin listener, and a reader of Prometheus text.

use std::net::SocketAddr;
use std::path::Path;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::browser::assert_safe;

/// A client of the admin listener that knows the token.
#[derive(Clone, Debug)]
pub struct Admin {
    client: reqwest::Client,
    /// The listener's address.
    pub address: SocketAddr,
    /// The admin token.
    pub token: String,
}

impl Admin {
    /// Reads the token from the file that the gateway wrote.
    pub fn new(address: SocketAddr, token_file: &Path) -> Self {
        let token = std::fs::read_to_string(token_file)
            .expect("the admin token's file")
            .trim()
            .to_owned();
        Self {
            client: super::browser::client(),
            address,
            token,
        }
    }

    /// `GET path` with the token.
    pub async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &self.token).await
    }

    /// `POST path` with the token.
    pub async fn post(&self, path: &str) -> Response {
        self.send(Method::POST, path, &self.token).await
    }

    /// A request with any token.
    pub async fn send(&self, method: Method, path: &str, token: &str) -> Response {
        let request = self
            .client
            .request(method, format!("http://{}{path}", self.address));
        let response = request.bearer_auth(token).send().await;
        let response = response.expect("the admin listener answers");
        assert_safe(&response);
        response
    }

    /// The plugins' status.
    pub async fn plugins(&self) -> Value {
        self.get("/plugins").await.json().await.expect("JSON")
    }

    /// The first plugin's status, as far as a reload or a rollback may change it.
    pub async fn serving(&self) -> [Value; 3] {
        let plugin = &self.plugins().await["plugins"][0];
        ["generation", "kept", "rolled_back"].map(|name| plugin[name].clone())
    }

    /// The metrics as text.
    pub async fn metrics(&self) -> String {
        let response = self.get("/metrics").await;
        assert_eq!(response.status(), StatusCode::OK);
        response.text().await.expect("text")
    }

    /// The sum of all series of the metric `name` that have every one of `labels` (`plugin="v1"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum(&self.metrics().await, name, labels)
    }
}

/// The sum of all series of a metric in Prometheus text that have every one of `labels`.
pub fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| series.split('{').next() == Some(name))
        .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .sum()
}
