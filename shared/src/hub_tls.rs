//! How an agent verifies a hub's certificate: by the system's certificates, by `ca_file`, by a pin, or by `ca_file` and
//! pin together.
//!
//! A pin identifies the hub's key, which is stronger than a name in a certificate: with only a pin, chain, host name
//! and dates are not checked (curl: `--insecure --pinnedpubkey`). With `ca_file` as well, all must be valid (curl:
//! `--cacert --pinnedpubkey`). In all cases, the hub must sign the handshake with its key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::pin::{Pin, Pins};

/// Configures how certificates are verified over HTTPS. Fails if `ca_file` can't be read or contains no certificate.
pub(crate) fn judge_by(
    builder: ClientBuilder,
    ca_file: Option<&Path>,
    pins: Option<&Pins>,
) -> Result<ClientBuilder, String> {
    let roots = ca_file.map(read_roots).transpose()?;
    let Some(pins) = pins else {
        return Ok(match roots {
            None => builder,
            Some(roots) => preconfigured(
                builder,
                client_config()
                    .with_root_certificates(roots)
                    .with_no_client_auth(),
            ),
        });
    };
    let chain = roots
        .map(|roots| {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()
        })
        .transpose()
        .map_err(|error| format!("ca_file: {error}"))?;
    let verifier = PinVerifier {
        pins: pins.clone(),
        chain,
        provider: provider(),
    };
    let config = client_config()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(preconfigured(builder, config))
}

fn preconfigured(builder: ClientBuilder, mut config: ClientConfig) -> ClientBuilder {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    builder.tls_backend_preconfigured(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn client_config() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need")
}

fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let wrong = |why: &str| format!("ca_file: {}: {why}", file.display());
    let pem = crate::held::read(file).map_err(|error| wrong(&error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| wrong("a PEM certificate in it is broken"))?;
        roots
            .add(certificate)
            .map_err(|_| wrong("contains a certificate that can't be parsed"))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no PEM certificate"));
    }
    Ok(roots)
}

/// Why a pinned hub is not trusted.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the key is {found} and not the one in pin_sha256: if the hub's key was replaced, update pin_sha256; otherwise another server answers"
)]
pub(crate) struct OtherKey {
    found: Pin,
}

struct PinVerifier {
    pins: Pins,
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for PinVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.pins)
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found =
            Pin::of(end_entity).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if !self.pins.contain(&found) {
            return Err(Error::Other(OtherError(Arc::new(OtherKey { found }))));
        }
        match &self.chain {
            None => Ok(ServerCertVerified::assertion()),
            Some(chain) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion};

    use super::*;

    struct Identity {
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    }

    fn identity() -> Identity {
        let made = rcgen::generate_simple_self_signed(["hub.test".to_owned()]).unwrap();
        Identity {
            certificate: made.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
        }
    }

    /// A handshake with a server that presents this certificate and signs with this key; returns the client's result.
    fn shake_hands(
        version: &'static SupportedProtocolVersion,
        pins: &Pins,
        shown: &CertificateDer<'static>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<(), Error> {
        let key = provider()
            .key_provider
            .load_private_key(key.clone_key())
            .unwrap();
        let identity = CertifiedKey::new(vec![shown.clone()], key);
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        let verifier = PinVerifier {
            pins: pins.clone(),
            chain: None,
            provider: provider(),
        };
        let client = client_config()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let name = ServerName::try_from("hub.test").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() {
            let mut sent = Vec::new();
            client.write_tls(&mut sent).unwrap();
            server.read_tls(&mut sent.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            let mut answered = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut answered).unwrap();
            }
            let mut answered = answered.as_slice();
            while !answered.is_empty() {
                client.read_tls(&mut answered).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn a_pinned_certificate_counts_only_with_a_signature_by_its_key() {
        let (hub, thief) = (identity(), identity());
        let pin = Pin::of(&hub.certificate).unwrap();
        let pins: Pins = pin.to_string().parse().unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let shake = |shown: &Identity, signs: &Identity| {
                shake_hands(version, &pins, &shown.certificate, &signs.key)
            };
            assert_eq!(shake(&hub, &hub), Ok(()), "{version:?}");
            assert_eq!(
                shake(&hub, &thief),
                Err(Error::InvalidCertificate(CertificateError::BadSignature)),
                "{version:?}"
            );
            assert!(shake(&thief, &thief).is_err(), "{version:?}");
        }
    }
}
