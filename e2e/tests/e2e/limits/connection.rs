//! Connections to a hub, with or without TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use silo_e2e::{Hub, binary};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address;

/// A connection.
pub(crate) type Connection = Box<dyn Stream>;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Creates a certificate; returns the configuration of a hub that uses it.
pub(crate) fn self_signed(folder: &Path) -> String {
    let at = folder.display();
    let made = Command::new(binary("silo-hub"))
        .args(["tls", "self-signed", "--name", "127.0.0.1", "--out"])
        .arg(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    format!("tls: {{cert: {at}/cert.pem, key: {at}/key.pem}}\n")
}

/// Where a hub listens.
pub(crate) struct Endpoint {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Endpoint {
    pub(crate) fn plain(hub: &Hub) -> Self {
        Self {
            address: address(hub),
            tls: None,
        }
    }

    /// For a hub that uses the certificate in this folder.
    pub(crate) fn tls(hub: &Hub, folder: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        let cert = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
        roots.add(cert).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address: address(hub),
            tls: Some(TlsConnector::from(Arc::new(config))),
        }
    }

    /// Connects without sending anything.
    pub(crate) async fn connect_tcp(&self) -> io::Result<Connection> {
        Ok(Box::new(TcpStream::connect(self.address).await?))
    }

    /// Connects, with a TLS handshake if the hub uses TLS.
    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => Ok(Box::new(self.handshake(tls, stream).await?)),
        }
    }

    /// Connects to a hub that uses TLS.
    pub(crate) async fn connect_tls(&self) -> io::Result<TlsStream<TcpStream>> {
        let tls = self.tls.as_ref().expect("this endpoint has TLS");
        self.handshake(tls, TcpStream::connect(self.address).await?)
            .await
    }

    async fn handshake(
        &self,
        tls: &TlsConnector,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::from(self.address.ip());
        tls.connect(name, stream).await
    }
}
