//! Requests that are malformed, contain a second request, or never end.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{assert_well, setup};
use support::raw::{exchange, heads, statuses};

/// Malformed requests and requests that contain a second one. Each is sent on its own connection.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let host = "Host: 127.0.0.1\r\n";
    let get = |rest: &str| format!("GET /auth/check HTTP/1.1\r\n{host}{rest}\r\n").into_bytes();
    let post = |headers: &str, body: &str| {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        format!("POST /auth/update HTTP/1.1\r\n{host}{form}{headers}\r\n{body}").into_bytes()
    };
    let smuggled = "GET /auth/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut cases: Vec<(&'static str, Vec<u8>)> = vec![
        ("nothing", b"\r\n\r\n".to_vec()),
        ("NULs", vec![0; 200]),
        ("high bytes", vec![0xff; 200]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"GET /auth/check\r\n".to_vec()),
        (
            "HTTP/9.9",
            b"GET /auth/check HTTP/9.9\r\nHost: a\r\n\r\n".to_vec(),
        ),
        ("no method", b" /auth/check HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("no target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        (
            "relative target",
            b"GET auth/check HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "absolute target",
            b"GET http://evil.example/auth/check HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        (
            "CONNECT",
            b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        (
            "OPTIONS *",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        (
            "bytes in the target",
            b"GET /auth/check?jwt=\xff\xfe\x80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        (
            "a space in the target",
            b"GET /auth/check ?a HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "a fragment in the target",
            b"GET /auth/check#frag HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        (
            "control characters in the target",
            b"GET /auth/\x01\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "no host",
            b"GET /auth/check HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        ("two hosts", get("Host: evil.example\r\nConnection: close\r\n")),
        (
            "a strange host",
            b"GET /auth/check HTTP/1.1\r\nHost: a b@c:99999/\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        ("a NUL in a header", get("X: a\0b\r\n")),
        ("a bare CR in a header", get("X: a\rY: b\r\n")),
        ("a folded header", get("X: a\r\n b\r\nConnection: close\r\n")),
        ("a space before the colon", get("Auth-Token : a\r\n")),
        ("no colon", get("Auth-Token\r\n")),
        ("an empty name", get(": a\r\n")),
        (
            "bytes in a name",
            [
                b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(),
                b"\xff\xfe: a\r\n\r\n",
            ]
            .concat(),
        ),
        (
            "bare line feeds",
            b"GET /auth/check HTTP/1.1\nHost: a\nConnection: close\n\n".to_vec(),
        ),
        ("many headers", get(&"X-Many: a\r\n".repeat(3000))),
        ("a huge header", get(&format!("X: {}\r\n", "a".repeat(1 << 20)))),
        (
            "a huge target",
            format!(
                "GET /auth/check?jwt={} HTTP/1.1\r\nHost: a\r\n\r\n",
                "a".repeat(1 << 20)
            )
            .into_bytes(),
        ),
        (
            "many cookies",
            get(&format!(
                "Cookie: {}\r\nConnection: close\r\n",
                "auth-a=b; ".repeat(500)
            )),
        ),
        (
            "two tokens in headers",
            get(
                "Auth-Token: a\r\nAuth-Token: b\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\nConnection: close\r\n",
            ),
        ),
        ("a negative length", post("Content-Length: -1\r\n", "a=b")),
        ("a signed length", post("Content-Length: +3\r\n", "a=b")),
        ("a hexadecimal length", post("Content-Length: 0x3\r\n", "a=b")),
        (
            "an overflowing length",
            post("Content-Length: 99999999999999999999999\r\n", "a=b"),
        ),
        (
            "a huge length",
            post("Content-Length: 9999999999\r\nConnection: close\r\n", "a=b"),
        ),
        (
            "two lengths",
            post(
                "Content-Length: 3\r\nContent-Length: 30\r\n",
                &format!("a=b{smuggled}"),
            ),
        ),
        (
            "lengths in a list",
            post("Content-Length: 3, 30\r\n", &format!("a=b{smuggled}")),
        ),
        (
            "a length and chunks",
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                &format!("0\r\n\r\n{smuggled}"),
            ),
        ),
        (
            "chunks and a length",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 100\r\n",
                &format!("0\r\n\r\n{smuggled}"),
            ),
        ),
        (
            "chunked, not last",
            post(
                "Transfer-Encoding: chunked, gzip\r\n",
                &format!("0\r\n\r\n{smuggled}"),
            ),
        ),
        (
            "a disguised encoding",
            post(
                "Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n",
                &format!("a=b{smuggled}"),
            ),
        ),
        (
            "two encodings",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                &format!("0\r\n\r\n{smuggled}"),
            ),
        ),
        (
            "a tab before the encoding",
            post(
                "Transfer-Encoding:\tchunked\r\nConnection: close\r\n",
                "0\r\n\r\n",
            ),
        ),
        (
            "a chunk size of rubbish",
            post("Transfer-Encoding: chunked\r\n", "zz\r\na=b\r\n0\r\n\r\n"),
        ),
        (
            "a negative chunk size",
            post("Transfer-Encoding: chunked\r\n", "-1\r\na=b\r\n0\r\n\r\n"),
        ),
        (
            "an overflowing chunk size",
            post(
                "Transfer-Encoding: chunked\r\n",
                "ffffffffffffffffff\r\na=b\r\n0\r\n\r\n",
            ),
        ),
        (
            "a chunk extension without end",
            post(
                "Transfer-Encoding: chunked\r\n",
                &format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1 << 20)),
            ),
        ),
        (
            "trailers",
            post(
                "Transfer-Encoding: chunked\r\nTrailer: auth-token\r\nConnection: close\r\n",
                "3\r\na=b\r\n0\r\nAuth-Token: x\r\n\r\n",
            ),
        ),
        (
            "chunks over HTTP/1.0",
            b"POST /auth/update HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        ),
        (
            "a body over the cap, in chunks",
            post(
                "Transfer-Encoding: chunked\r\nConnection: close\r\n",
                &format!(
                    "{}0\r\n\r\n",
                    format!("4000\r\n{}\r\n", "a".repeat(0x4000)).repeat(8)
                ),
            ),
        ),
        (
            "a body with GET",
            format!("GET /auth/check HTTP/1.1\r\n{host}Content-Length: 3\r\nConnection: close\r\n\r\na=b")
                .into_bytes(),
        ),
        (
            "100-continue",
            post(
                "Content-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n",
                "a=b",
            ),
        ),
        (
            "an upgrade",
            get(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
            ),
        ),
        (
            "pipelined",
            [get(""), get(""), get("Connection: close\r\n")].concat(),
        ),
    ];
    // Framing that two readers interpret differently. A second request hides in each body.
    for (what, headers) in [
        (
            "an encoding after a vertical tab",
            "Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n",
        ),
        (
            "an encoding in quotes",
            "Transfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n",
        ),
        (
            "an encoding with a parameter",
            "Transfer-Encoding: chunked;a=b\r\nContent-Length: 5\r\n",
        ),
        (
            "an encoding in capitals, and a length",
            "TRANSFER-ENCODING: CHUNKED\r\nContent-Length: 5\r\n",
        ),
        ("an empty encoding", "Transfer-Encoding:\r\nContent-Length: 5\r\n"),
        (
            "a folded encoding",
            "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n",
        ),
        (
            "a space after the encoding's name",
            "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n",
        ),
        ("a space after the length's name", "Content-Length : 5\r\n"),
        ("a length of nothing", "Content-Length:\r\n"),
        ("a length with an underscore", "Content-Length: 1_0\r\n"),
    ] {
        cases.push((what, post(headers, &format!("0\r\n\r\n{smuggled}"))));
    }
    for (what, chunks) in [
        ("chunks ended by bare line feeds", "3\na=b\n0\n\n"),
        ("a chunk ended by a bare carriage return", "3\ra=b\r\n0\r\n\r\n"),
        ("a chunk that is longer than it says", "3\r\na=bc\r\n0\r\n\r\n"),
        (
            "a chunk extension with a bare line feed",
            "3;\nx\r\na=b\r\n0\r\n\r\n",
        ),
        ("a chunk size with a sign", "+3\r\na=b\r\n0\r\n\r\n"),
        ("a chunk size after a space", " 3\r\na=b\r\n0\r\n\r\n"),
        ("a chunk size in hexadecimal twice", "0x3\r\na=b\r\n0\r\n\r\n"),
    ] {
        cases.push((
            what,
            post("Transfer-Encoding: chunked\r\n", &format!("{chunks}{smuggled}")),
        ));
    }
    let whole = post("Content-Length: 12\r\nConnection: close\r\n", "username=neo");
    for cut in (1..whole.len()).step_by(7) {
        cases.push(("cut short", whole[..cut].to_vec()));
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_malformed_request_is_answered_with_5xx_or_read_as_two() {
    let gateway = setup().table("server", "header_timeout = \"2s\"").start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for (what, bytes) in malformed() {
        let address = gateway.address;
        tasks.spawn(async move { (what, exchange(address, &bytes).await) });
    }
    let (mut tried, mut answered) = (0, 0);
    for (what, answers) in tasks.join_all().await {
        tried += 1;
        for head in heads(&answers) {
            answered += 1;
            for header in [
                "x-content-type-options: nosniff",
                "referrer-policy: no-referrer",
                "cache-control: no-store",
            ] {
                assert_eq!(head.matches(header).count(), 1, "{header} of {what}: {answers}");
            }
        }
        let statuses = statuses(&answers);
        assert!(statuses.iter().all(|status| *status < 500), "{what}: {answers}");
        assert!(
            statuses.len() <= if what == "pipelined" { 3 } else { 2 },
            "{what}: {answers}"
        );
        if !["a length and chunks", "chunks and a length", "pipelined"].contains(&what) {
            let final_answers = statuses.iter().filter(|status| **status >= 200).count();
            assert!(final_answers <= 1, "{what} was read as two: {answers}");
        }
    }
    println!("{tried} malformed requests, {answered} answers with every header");
    assert!(answered > tried / 2, "{answered}");
    assert_well(gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_dropped_and_delay_nobody() {
    let gateway = setup().table("server", "header_timeout = \"1s\"").start().await;
    let mut slow = tokio::task::JoinSet::new();
    for n in 0..if cfg!(feature = "test-all") { 400 } else { 30 } {
        let address = gateway.address;
        slow.spawn(async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let head: &[u8] = match n % 3 {
                0 => b"",
                1 => b"GET /auth/check HTTP/1.1\r\nHost: a\r\nX-Slow: ",
                _ => b"POST /auth/update HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\nuser",
            };
            socket.write_all(head).await.unwrap();
            // A byte now and then does not keep the connection open.
            let (mut from, mut to) = socket.into_split();
            let drip = tokio::spawn(async move {
                while to.write_all(b"a").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
            let mut answer = Vec::new();
            let _ = from.read_to_end(&mut answer).await;
            drip.abort();
            String::from_utf8_lossy(&answer).into_owned()
        });
    }
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    let mut good = 0;
    while !slow.is_empty() {
        assert!(browser.is_signed_in(&token).await);
        good += 1;
        while let Some(ended) = slow.try_join_next() {
            let statuses = statuses(&ended.unwrap());
            assert!(
                statuses.iter().all(|status| [400, 408].contains(status)),
                "{statuses:?}"
            );
        }
    }
    assert!(good > 0, "{good}");
    assert_well(gateway).await;
}
