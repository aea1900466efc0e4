//! A server for plugins' requests: it answers as the test says at the moment, and records the requests.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::net::TcpSocket;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

pub(super) struct Peer {
    server: MockServer,
    answer: Arc<Mutex<ResponseTemplate>>,
}

impl Peer {
    /// Starts a server with this answer.
    pub(super) async fn start(answer: ResponseTemplate) -> Self {
        let server = MockServer::start().await;
        let answer = Arc::new(Mutex::new(answer));
        let now = Arc::clone(&answer);
        Mock::given(any())
            .respond_with(move |_: &Request| now.lock().unwrap().clone())
            .mount(&server)
            .await;
        Self { server, answer }
    }

    /// Its origin: scheme, address, port.
    pub(super) fn origin(&self) -> String {
        self.server.uri()
    }

    /// Changes the answer to later requests.
    pub(super) fn answers(&self, answer: ResponseTemplate) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The requests so far.
    pub(super) async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.expect("it remembers")
    }
}

pub(super) fn json_of(request: &Request) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

/// An address on which nothing listens, reserved while this lives.
pub(super) struct Nobody(TcpSocket);

impl Nobody {
    pub(super) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        Self(socket)
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("an address"))
    }
}
