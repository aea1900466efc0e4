//! The internet as a gateway behind an egress proxy sees it: a proxy that terminates TLS for some hosts and connects
//! each of them to its fake. The tests use presets as they are shipped, at the addresses of the real providers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) struct Internet {
    address: SocketAddr,
    /// The authority's certificate, PEM.
    root: String,
}

impl Internet {
    /// Starts a proxy to these hosts.
    pub(crate) async fn start(hosts: HashMap<String, SocketAddr>) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names: Vec<String> = hosts.keys().cloned().collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hosts = Arc::new(hosts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, hosts) = (acceptor.clone(), Arc::clone(&hosts));
                tokio::spawn(async move {
                    // A client may go away.
                    let _ = tunnel(stream, &acceptor, &hosts).await;
                });
            }
        });
        Self {
            address,
            root: format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                STANDARD.encode(authority.der())
            ),
        }
    }

    /// The variables of a gateway that uses the proxy and trusts its certificates.
    pub(crate) fn variables(&self, directory: &Path) -> [(&'static str, String); 2] {
        let root = directory.join("root.pem");
        std::fs::write(&root, &self.root).unwrap();
        [
            ("HTTPS_PROXY", format!("http://{}", self.address)),
            ("SSL_CERT_FILE", root.display().to_string()),
        ]
    }
}

/// `CONNECT host:443` (RFC 9110 section 9.3.6), and the tunnel after it.
async fn tunnel(
    mut client: TcpStream,
    acceptor: &TlsAcceptor,
    hosts: &HashMap<String, SocketAddr>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let host = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split_once(":443 "))
        .map(|(host, _)| host);
    let Some(fake) = host.and_then(|host| hosts.get(host)) else {
        return client
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
            .await;
    };
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(fake).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
