use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;

use super::{Http, HttpError, HttpLimits, MAX_HELD};
use crate::names::{Names, SystemNames};

const MAX_BODY: usize = 1 << 20;

fn with(home: &str, allow_private: bool, names: Arc<dyn Names>) -> Option<Http> {
    let limits = HttpLimits {
        timeout: Duration::from_secs(60),
        max_body: MAX_BODY,
        proxy: None,
    };
    Http::new(&Url::parse(home).unwrap(), allow_private, &limits, names).ok()
}

fn http(home: &str) -> Option<Http> {
    with(home, false, Arc::new(SystemNames))
}

fn get(url: &str) -> super::HttpRequest {
    http::Request::get(url).body(Vec::new()).unwrap()
}

#[test]
fn providers_use_https_or_http_on_loopback() {
    for home in [
        "https://example.org",
        "http://127.0.0.1:1",
        "http://[::1]",
        "http://localhost:8080",
    ] {
        assert!(http(home).is_some(), "{home}");
    }
    for home in [
        "http://example.org",
        "http://127.0.0.1.example.org",
        "http://10.0.0.1",
        "http://localhost.example.org",
        "ftp://127.0.0.1",
        "file:///etc",
    ] {
        assert!(http(home).is_none(), "{home}");
    }
}

#[test]
fn other_providers_cannot_redirect_to_loopback_or_plain_http() {
    let far = http("https://example.org").unwrap();
    let near = http("http://127.0.0.1:1").unwrap();
    for (url, from_far, from_near) in [
        ("https://other.example.org/token", true, true),
        ("http://127.0.0.1:2/token", false, true),
        ("http://example.org/token", false, false),
        ("javascript:alert(1)", false, false),
    ] {
        let url = Url::parse(url).unwrap();
        assert_eq!(
            (far.may_ask(&url).is_ok(), near.may_ask(&url).is_ok()),
            (from_far, from_near),
            "{url}"
        );
    }
}

#[test]
fn a13_addresses_in_urls_are_checked() {
    let public = http("https://id.example.org").unwrap();
    let private = http("https://10.0.0.1").unwrap();
    let allowed = with("https://id.example.org", true, Arc::new(SystemNames)).unwrap();
    for (url, from_public, from_private) in [
        ("https://1.1.1.1/token", true, true),
        ("https://127.0.0.1/token", false, true),
        ("https://0x7f.1/token", false, true),
        ("https://2130706433/token", false, true),
        ("https://[::1]/token", false, true),
        ("https://[::ffff:10.0.0.1]/token", false, true),
        ("https://10.1.2.3/token", false, true),
        ("https://192.168.0.1:8443/token", false, true),
        ("https://169.254.169.254/latest", false, false),
        ("https://0.0.0.0/token", false, false),
    ] {
        let url = Url::parse(url).unwrap();
        let may = [&public, &private, &allowed].map(|http| http.may_ask(&url).is_ok());
        assert_eq!(may, [from_public, from_private, from_private], "{url}");
    }
}

/// The same address for every name.
#[derive(Debug)]
struct Always(IpAddr);

impl Names for Always {
    fn look_up(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![self.0])
    }
}

#[tokio::test]
async fn a13_names_that_resolve_to_this_machine_are_not_connected_to() {
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://id.example.org:{}/token",
        canary.local_addr().unwrap().port()
    );
    let names = Arc::new(Always([127, 0, 0, 1].into()));
    let connects = |http: Http| {
        let (canary, url) = (&canary, &url);
        async move {
            let requests = http.requests();
            tokio::select! {
                answer = requests.send(get(url)) => Err(answer.unwrap_err()),
                connection = canary.accept() => Ok(connection.unwrap()),
            }
        }
    };
    let refused = connects(with(&url, false, names.clone()).unwrap()).await;
    assert!(matches!(refused, Err(HttpError::NotPublic(_))), "{refused:?}");
    // If the operator permits it, the same request connects.
    connects(with(&url, true, names).unwrap()).await.unwrap();
}

/// A server that answers every request with a body of this size, and ends the connection.
async fn serve(size: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let begin = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n");
                let _ = stream.write_all(begin.as_bytes()).await;
                let _ = stream.write_all(&vec![b'x'; size]).await;
            });
        }
    });
    format!("http://{address}/")
}

#[tokio::test]
async fn a14_answers_of_one_provider_are_bounded_in_sum() {
    let url = serve(MAX_BODY - 1024).await;
    let http = http(&url).unwrap();
    let mut signing_in = Vec::new();
    let full = loop {
        assert!(signing_in.len() <= MAX_HELD / MAX_BODY, "there is no bound");
        let requests = http.requests();
        match requests.send(get(&url)).await {
            Ok(_) => signing_in.push(requests),
            Err(error) => break error,
        }
    };
    assert_eq!(full, HttpError::Full);
    assert_eq!(signing_in.len(), MAX_HELD / MAX_BODY);
    // Another provider has its own space.
    let other = super::tests::http(&url).unwrap();
    other.requests().send(get(&url)).await.unwrap();
    // A finished sign-in releases its space.
    signing_in.pop();
    http.requests().send(get(&url)).await.unwrap();
}
