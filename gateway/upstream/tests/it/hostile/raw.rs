//! Servers that break HTTP in ways that no HTTP library permits.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How a server treats every request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Reads the request and sends nothing.
    Silent,
    /// Announces a body, sends one byte of it, and stops.
    Stalls,
    /// Sends JSON that never ends.
    Endless,
    /// Closes the connection.
    HangsUp,
    /// Speaks another protocol.
    Gibberish,
}

/// Starts one; gives its address, `http://127.0.0.1:PORT`. It ends with the test's runtime.
pub(crate) async fn start(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, manner));
        }
    });
    format!("http://{address}")
}

async fn serve(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut head = [0; 4096];
    let _head = stream.read(&mut head).await?;
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    match manner {
        Manner::Silent => {}
        Manner::Stalls => {
            stream
                .write_all(format!("{json}content-length: 100\r\n\r\n{{").as_bytes())
                .await?;
        }
        Manner::Endless => {
            stream
                .write_all(format!("{json}transfer-encoding: chunked\r\n\r\n").as_bytes())
                .await?;
            let chunk = format!("400\r\n{}\r\n", " ".repeat(1024));
            // Ends when the reader closes the connection.
            loop {
                stream.write_all(chunk.as_bytes()).await?;
            }
        }
        Manner::HangsUp => return Ok(()),
        Manner::Gibberish => {
            stream
                .write_all(b"\0\xff220 mail.example.org ESMTP\r\n\r\n")
                .await?;
            return Ok(());
        }
    }
    // Until the peer closes the connection.
    while stream.read(&mut head).await? > 0 {}
    Ok(())
}
