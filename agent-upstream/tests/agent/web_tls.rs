//! Web pages over TLS as the source of addresses. The certificates of the system are read from a file, as on Linux.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::hub::Hub;
use crate::run::Ran;
use crate::web::{REPORTED, agent, hub};

/// A page over TLS, whose certificate is for `localhost`. Ends with the test.
struct TlsPage {
    address: SocketAddr,
    certificate: String,
}

impl TlsPage {
    fn start(body: &'static str) -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a certificate and its key");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(config.clone()).expect("a connection");
                let mut stream = StreamOwned::new(connection, stream);
                // A caller that does not trust the certificate goes away.
                let _ = stream.read(&mut [0; 4096]).and_then(|_| {
                    let length = body.len();
                    write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    )
                });
            }
        });
        Self {
            address,
            certificate: made.cert.pem(),
        }
    }

    /// An agent that asks this page, and whose system trusts these certificates.
    fn ask(&self, hub: &Hub, trusted: &str) -> Ran {
        let url = format!("https://localhost:{}/", self.address.port());
        let agent = agent(hub, &[&url], "");
        let store = agent.write("store.pem", trusted, 0o600);
        agent
            .env("SSL_CERT_FILE", store.to_str().expect("UTF-8"))
            .run()
    }
}

#[test]
fn a_page_over_tls_is_trusted_by_the_systems_certificates() {
    let hub = hub();
    let page = TlsPage::start("192.0.2.5\n");
    page.ask(&hub, &page.certificate).says(REPORTED);
    let asked = hub.lines().len();
    let other = TlsPage::start("192.0.2.6\n");
    page.ask(&hub, &other.certificate)
        .complains(1, &["the page at https://localhost:", "certificate"]);
    assert_eq!(hub.lines().len(), asked);
}
