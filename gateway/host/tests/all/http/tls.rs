//! TLS: the server must be who the origin says.

use std::sync::Arc;

use gateway_sandbox::{HttpConfig, Network};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::{TlsAcceptor, rustls};

use super::server::{Server, gone};
use super::{Names, Plugin, config, set_of};

/// An authority, which can make certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A server with a certificate for these names, changed so.
    async fn server(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Server {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Server::with(move |stream, seen| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if seen.head(&mut stream).await.is_some() {
                    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                    let _ = stream.write_all(text).await;
                    gone(&mut stream).await;
                }
            }
        })
        .await
    }
}

async fn plugin(name: &'static str, config: HttpConfig, roots: Vec<Vec<u8>>) -> Plugin {
    let here: &[&[&str]] = &[&["127.0.0.1"]];
    let names = Names::new(&[("policy.test", here), ("other.test", here)]);
    Plugin::with(name, set_of(name, config), Network::new(names, roots)).await
}

#[tokio::test]
async fn the_right_name_is_served_and_a_wrong_one_is_not() {
    let authority = Authority::new();
    let server = authority.server(&["policy.test"], |_| {}).await;
    let origin = |host: &str| format!("https://{host}:{}", server.port());
    let allow = [origin("policy.test"), origin("other.test"), origin("127.0.0.1")];
    let allow: Vec<&str> = allow.iter().map(String::as_str).collect();
    let config = config(&allow, &["policy.test", "other.test"]);
    let plugin = plugin("http-tls", config, vec![authority.root()]).await;
    let answer = plugin.tell(&format!("GET {}/path", origin("policy.test"))).await;
    assert_eq!(answer["text"], "hello", "{answer}");
    assert!(server.heads()[0].contains(&format!("\r\nhost: policy.test:{}\r\n", server.port())));

    // The same server, by names that its certificate does not have.
    for host in ["other.test", "127.0.0.1"] {
        let error = plugin.error(&format!("GET {}/", origin(host))).await;
        assert_eq!(error, "response: TlsCertificateError", "{host}");
    }
    assert_eq!(
        server.heads().len(),
        1,
        "no request is sent to whom it is not for"
    );
    let logged = plugin.logged();
    let message = logged[0]["message"].as_str().unwrap();
    assert!(
        message.contains("failed: the certificate was rejected"),
        "{message}"
    );
}

#[tokio::test]
async fn an_address_may_have_a_certificate() {
    let authority = Authority::new();
    let server = authority.server(&["127.0.0.1"], |_| {}).await;
    let origin = format!("https://127.0.0.1:{}", server.port());
    let plugin = plugin(
        "http-tls-address",
        config(&[&origin], &[]),
        vec![authority.root()],
    )
    .await;
    assert_eq!(plugin.tell(&format!("GET {origin}/")).await["text"], "hello");
}

#[tokio::test]
async fn nobody_else_may_vouch_for_a_server() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.server(&["policy.test"], |_| {}).await;
    let expired = other
        .server(&["policy.test"], |params| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1)
        })
        .await;
    let origins = [&server, &expired].map(|server| format!("https://policy.test:{}", server.port()));
    let allow: Vec<&str> = origins.iter().map(String::as_str).collect();
    let plugin = plugin(
        "http-tls-root",
        config(&allow, &["policy.test"]),
        vec![other.root()],
    )
    .await;
    for origin in &origins {
        let error = plugin.error(&format!("GET {origin}/")).await;
        assert_eq!(error, "response: TlsCertificateError");
    }
    assert_eq!((server.heads().len(), expired.heads().len()), (0, 0));
}

#[tokio::test]
async fn what_is_no_tls_is_an_error() {
    let plain = Server::with(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        gone(&mut stream).await;
    })
    .await;
    let origin = format!("https://127.0.0.1:{}", plain.port());
    let plugin_of = plugin(
        "http-tls-plain",
        config(&[&origin], &[]),
        vec![Authority::new().root()],
    )
    .await;
    assert_eq!(
        plugin_of.error(&format!("GET {origin}/")).await,
        "response: TlsProtocolError"
    );

    // One that takes the connection and says nothing.
    let silent = Server::with(|mut stream, _| async move { gone(&mut stream).await }).await;
    let origin = format!("https://127.0.0.1:{}", silent.port());
    let mut config = config(&[&origin], &[]);
    config.timeout = std::time::Duration::from_millis(300);
    let plugin = plugin("http-tls-silent", config, vec![Authority::new().root()]).await;
    assert_eq!(
        plugin.error(&format!("GET {origin}/")).await,
        "response: ConnectionTimeout"
    );
    silent.wait_for_open(0).await;
}
