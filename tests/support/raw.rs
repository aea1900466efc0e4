//! Bytes over a socket, as no HTTP client would send them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wait::PATIENCE;

/// Sends `bytes`, then reads until the other side closes, or the answer to one request is complete. Returns the bytes
/// that it read, none if the connection was closed without an answer.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.expect("the gateway listens");
    // The gateway may answer and close before it has read everything.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = async {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = socket.read(&mut chunk).await {
            answer.extend_from_slice(&chunk[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the gateway answers or closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of each answer that [`exchange`] returned.
pub fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3)?.parse().ok())
        .collect()
}

/// The heads of the HTTP/1.1 answers that [`exchange`] returned, without interim ones.
pub fn heads(answers: &str) -> Vec<&str> {
    answers
        .split_inclusive("\r\n\r\n")
        .filter_map(|part| part.find("HTTP/1.1 ").map(|begin| &part[begin..]))
        .filter(|head| head.ends_with("\r\n\r\n") && !head.starts_with("HTTP/1.1 1"))
        .collect()
}
