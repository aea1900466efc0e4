//! Providers behind an egress proxy, and providers with a certificate of a private authority.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::alice;
use support::browser::{location, token_in};
use support::fake_oidc::FakeOidc;
use support::{Gateway, Setup};

/// A name that cannot exist (RFC 6761).
const HOST: &str = "id.example.test";

/// A provider whose TLS certificate comes from a private authority, and an egress proxy that alone knows its address.
struct Network {
    provider: FakeOidc,
    proxy: SocketAddr,
    /// The targets of the `CONNECT` requests.
    asked: Arc<Mutex<Vec<String>>>,
    /// The authority's certificate, PEM.
    authority: String,
}

impl Network {
    async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let provider = FakeOidc::behind(&format!("https://{HOST}"), alice()).await;
        let tls = end_tls(&authority, provider.address()).await;
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let network = Self {
            provider,
            proxy: proxy.local_addr().unwrap(),
            asked: Arc::clone(&asked),
            authority: format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                STANDARD.encode(authority.der())
            ),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = proxy.accept().await {
                tokio::spawn(connect(stream, tls, Arc::clone(&asked)));
            }
        });
        network
    }

    /// A gateway with these variables. `{proxy}` in them stands for the proxy's address.
    async fn gateway(&self, variables: &[(&str, &str)]) -> Gateway {
        let mut setup = Setup::serve().oidc("company", &self.provider);
        let file = setup.dir.path().join("authority.pem");
        std::fs::write(&file, &self.authority).unwrap();
        for (name, value) in variables {
            let value = value
                .replace("{proxy}", &self.proxy.to_string())
                .replace("{authority}", file.to_str().unwrap());
            setup = setup.env(name, &value);
        }
        setup.start().await
    }

    /// Signs in, with a browser that reaches the provider without the proxy.
    async fn sign_in(&self, gateway: &Gateway) -> Response {
        let browser = gateway.browser();
        let begun = browser.get("/auth/login/company").await;
        if begun.status() != StatusCode::FOUND {
            return begun;
        }
        let mut authorize = location(&begun);
        assert_eq!(authorize.host_str(), Some(HOST));
        authorize.set_scheme("http").unwrap();
        authorize.set_host(Some("127.0.0.1")).unwrap();
        authorize.set_port(Some(self.provider.address().port())).unwrap();
        let callback = location(&browser.get(authorize.as_str()).await);
        browser.get(callback.as_str()).await
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Terminates TLS in front of a server.
async fn end_tls(authority: &CertifiedIssuer<'static, KeyPair>, to: SocketAddr) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let names = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let certificate = names.signed_by(&key, authority).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    address
}

/// One connection of the proxy (RFC 9110 section 9.3.6).
async fn connect(mut client: TcpStream, to: SocketAddr, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read_exact(&mut byte).await.is_err() {
            return;
        }
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let known = head.starts_with("CONNECT ") && target == format!("{HOST}:443");
    asked.lock().unwrap().push(head);
    if known {
        let mut server = TcpStream::connect(to).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
    } else {
        let _ = client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    }
}

#[tokio::test]
async fn p14_a_provider_behind_a_proxy_with_a_private_authority_signs_users_in() {
    let network = Network::start().await;
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let variables = [
            (variable, "http://canary-user:canary-password@{proxy}"),
            ("SSL_CERT_FILE", "{authority}"),
        ];
        let gateway = network.gateway(&variables).await;
        let answer = network.sign_in(&gateway).await;
        assert_eq!(
            answer.status(),
            StatusCode::FOUND,
            "{variable}: {}",
            gateway.log.text()
        );
        let profile = gateway.browser().check(&token_in(&answer)).await["profile"].clone();
        assert_eq!(profile["name"], "Alice Liddell");
        let asked = network.asked();
        assert!(!asked.is_empty(), "{variable}");
        for head in asked {
            assert!(head.starts_with(&format!("CONNECT {HOST}:443 ")), "{head}");
            assert!(
                head.to_ascii_lowercase().contains("proxy-authorization: basic "),
                "{head}"
            );
        }
        let log = gateway.stop().await.text();
        assert!(!log.contains("canary-password"), "{log}");
    }
}

#[tokio::test]
async fn p14_hosts_in_no_proxy_and_loopback_providers_are_reached_directly() {
    let network = Network::start().await;
    for variable in ["NO_PROXY", "no_proxy"] {
        let variables = [
            ("HTTPS_PROXY", "http://{proxy}"),
            ("SSL_CERT_FILE", "{authority}"),
            (variable, "other.example.test, .example.test"),
        ];
        let gateway = network.gateway(&variables).await;
        // Only the proxy knows that name.
        let answer = network.sign_in(&gateway).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{variable}");
        assert_eq!(network.asked(), [] as [String; 0], "{variable}");
        gateway.stop().await;
    }
    let local = FakeOidc::start(alice()).await;
    let gateway = Setup::serve()
        .oidc("local", &local)
        .env("HTTPS_PROXY", &format!("http://{}", network.proxy))
        .env("HTTP_PROXY", &format!("http://{}", network.proxy))
        .env("ALL_PROXY", &format!("http://{}", network.proxy))
        .start()
        .await;
    token_in(&local.sign_in(&gateway.browser(), "/auth/login/local").await);
    assert_eq!(network.asked(), [] as [String; 0]);
    gateway.stop().await;
}

#[tokio::test]
async fn p14_a_private_authority_is_trusted_only_if_the_operator_names_it() {
    let network = Network::start().await;
    let gateway = network.gateway(&[("HTTPS_PROXY", "{proxy}")]).await;
    let answer = network.sign_in(&gateway).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let log = gateway.stop().await.text();
    assert!(log.contains("UnknownIssuer"), "{log}");
    // A directory of certificates works, too.
    let network = Network::start().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("0a1b2c3d.0"), &network.authority).unwrap();
    let variables = [
        ("HTTPS_PROXY", "{proxy}"),
        ("SSL_CERT_DIR", directory.path().to_str().unwrap()),
    ];
    let gateway = network.gateway(&variables).await;
    token_in(&network.sign_in(&gateway).await);
    gateway.stop().await;
}

#[tokio::test]
async fn p14_unreadable_certificates_are_named_with_their_variable() {
    let setup = Setup::serve().table(
        "providers.work",
        "issuer = \"https://id.example.org\"\nclient_id = \"a\"\nclient_secret = \"b\"",
    );
    setup.write();
    let empty = tempfile::NamedTempFile::new().unwrap();
    for file in ["/nowhere.pem", empty.path().to_str().unwrap()] {
        let setup = setup.clone().env("SSL_CERT_FILE", file);
        let said = setup.dir.cli(&["config", "check"]).await.failed();
        let named = format!("SSL_CERT_FILE is {file}");
        for part in ["providers.work", &named, "ca-certificates"] {
            assert!(said.contains(part), "{file:?}: {said}");
        }
    }
    // An empty variable counts as not set.
    let setup = setup.env("SSL_CERT_FILE", "");
    setup.dir.cli(&["config", "check"]).await.succeeded();
}
