//! The certificate of this instance, and the pinning of the far end's.
//!
//! Who is at the other end is settled by the sealed session below. The certificates inside are made when the process
//! starts, their SHA-256 is exchanged on the associated channel, and each side accepts just that one: no names, no
//! authorities, no dates.

use std::sync::Arc;

use noq::{
    ClientConfig, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

/// The name in the made-up certificates; nobody looks at it.
const NAME: &str = "tieline";
/// The application protocol, so that nothing else that speaks QUIC is taken for a tieline.
const ALPN: &[u8] = b"tieline/1";

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate could not be made.
    #[error("the certificate for the stream channel could not be made")]
    Certificate(#[from] rcgen::Error),
    /// TLS refused its own settings.
    #[error("TLS for the stream channel could not be set up")]
    Tls(#[from] Error),
    /// The provider has no initial cipher suite for QUIC.
    #[error("TLS for the stream channel lacks a cipher suite for QUIC")]
    Suite(#[from] noq::crypto::rustls::NoInitialCipherSuite),
}

/// The key and certificate that this instance shows in the stream channel.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// Makes a key and a certificate.
    ///
    /// # Errors
    ///
    /// `Certificate`.
    pub fn generate() -> Result<Self, IdentityError> {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
        Ok(Self {
            certificate: made.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()),
            provider: Arc::new(aws_lc_rs::default_provider()),
        })
    }

    /// SHA-256 of the certificate, for the hello.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }

    /// How this end connects to the one that shows the certificate `far`.
    ///
    /// # Errors
    ///
    /// `Tls`, `Suite`.
    pub fn client_config(&self, far: [u8; 32]) -> Result<ClientConfig, IdentityError> {
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.pinned(far)))
            .with_client_auth_cert(vec![self.certificate.clone()], self.private_key())?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
    }

    /// How this end lets in the one that shows the certificate `far`.
    ///
    /// # Errors
    ///
    /// `Tls`, `Suite`.
    pub fn server_config(&self, far: [u8; 32]) -> Result<ServerConfig, IdentityError> {
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(self.pinned(far)))
            .with_single_cert(vec![self.certificate.clone()], self.private_key())?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?)))
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    fn pinned(&self, far: [u8; 32]) -> Pinned {
        Pinned { fingerprint: far, algorithms: self.provider.signature_verification_algorithms }
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, certificate).as_ref());
    out
}

/// Accepts one certificate, known by its fingerprint, and only if its key signed the handshake.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if fingerprint(certificate) == self.fingerprint {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
}

/// "An endpoint MUST terminate the connection if a version of TLS older than 1.3 is negotiated" (RFC 9001 §4.2).
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::Tls13RequiredForQuic.into())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        ClientConnection, ServerConnection,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    };

    use super::*;

    /// Shows a certificate whatever it is asked for, also one whose key it does not have.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesServerCert for Shows {
        fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    /// Lets a client that expects the certificate `shown` meet a server that shows it and signs with the key of `signer`.
    fn meet(shown: &Identity, signer: &Identity) -> Result<(), Error> {
        let provider = Arc::clone(&shown.provider);
        let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(shown.pinned(shown.fingerprint())))
            .with_no_client_auth();
        let key = provider.key_provider.load_private_key(signer.private_key())?;
        let shows = Shows(Arc::new(CertifiedKey::new(vec![shown.certificate.clone()], key)));
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shows));
        let name = ServerName::try_from(NAME).expect("a name");
        let mut client = ClientConnection::new(Arc::new(client), name)?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking() {
            let mut octets = Vec::new();
            client.write_tls(&mut octets).expect("memory");
            server.read_tls(&mut &octets[..]).expect("memory");
            server.process_new_packets()?;
            octets.clear();
            while server.wants_write() {
                server.write_tls(&mut octets).expect("memory");
            }
            client.read_tls(&mut &octets[..]).expect("memory");
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn certificate_is_worth_nothing_without_its_key() {
        let (owner, thief) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        meet(&owner, &owner).expect("its own key");
        let refused = meet(&owner, &thief).expect_err("a certificate that somebody saw");
        assert!(matches!(refused, Error::InvalidCertificate(CertificateError::BadSignature)), "{refused:?}");
    }
}
