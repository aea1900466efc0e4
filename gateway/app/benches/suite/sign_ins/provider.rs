//! GitHub, as far as a sign-in goes: whoever comes with the code `7` is person 7. It keeps nothing and checks
//! nothing, so that it takes as little as possible from the gateway.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The provider, which serves on its own thread until the process ends.
pub(super) struct Provider {
    address: SocketAddr,
}

impl Provider {
    /// Starts it.
    pub(super) fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::spawn(move || runtime.block_on(serve(listener)));
        Ok(Self { address })
    }

    /// Its section of the gateway's configuration.
    pub(super) fn configuration(&self) -> String {
        let Self { address } = self;
        format!(
            "[providers.github]\nweb = \"http://{address}\"\napi = \"http://{address}/api\"\n\
             client_id = \"bench\"\nclient_secret = \"bench\"\ntrusted_email = true\n"
        )
    }
}

async fn serve(listener: std::net::TcpListener) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A client that goes away in mid-answer is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let person = token
        .and_then(|token| token.strip_prefix("Bearer "))
        .unwrap_or_default()
        .to_owned();
    let value: Value = match request.uri().path() {
        "/login/oauth/access_token" => {
            let form = request.into_body().collect().await.map(|body| body.to_bytes());
            let form = form.unwrap_or_default();
            let code = form_urlencoded::parse(&form).find(|(name, _)| name == "code");
            let code = code.map(|(_, code)| code.into_owned());
            json!({"access_token": code, "scope": "read:user,user:email", "token_type": "bearer"})
        }
        "/api/user" => json!({
            "login": format!("person-{person}"), "id": person.parse::<u64>().ok(), "name": format!("Person {person}"),
            "avatar_url": "https://img.example.org/a.png",
        }),
        _ => json!([{"email": format!("person-{person}@example.org"), "verified": true, "primary": true}]),
    };
    let mut answer = Response::new(Full::new(value.to_string().into()));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    Ok(answer)
}
