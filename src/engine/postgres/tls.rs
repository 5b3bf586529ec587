//! What `sslmode` and `sslrootcert` in an address say.

use std::format;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresError;
use crate::engine::address::Address;

/// The values of `sslmode` that are accepted, as libpq means them: `disable` never encrypts, `prefer` (the default) encrypts
/// if the server can, `require` always does, and `verify-full` also makes sure that the certificate is the host's and
/// comes from somebody whom `sslrootcert` names: a file in PEM, or `system`, which is the default.
///
/// Only `verify-full` protects from somebody who can pretend to be the server.
pub const SSL_MODES: &str = "disable, prefer, require, verify-full";

/// How a connection is to be secured.
pub(super) struct Security {
    mode: SslMode,
    roots: Option<String>,
}

impl Security {
    /// Takes what is about security out of an address.
    pub(super) fn read(url: &str) -> Result<(String, Security), PostgresError> {
        let mut address = Address::read(url);
        let (mode, roots) = (address.take("sslmode"), address.take("sslrootcert"));
        let (mode, verifies) = match mode {
            Some("disable") => (SslMode::Disable, false),
            Some("prefer") | None => (SslMode::Prefer, false),
            Some("require") => (SslMode::Require, false),
            Some("verify-full") => (SslMode::Require, true),
            Some(found) => return Err(wrong("sslmode", found.into(), SSL_MODES)),
        };
        if roots.is_some() && !verifies {
            let found = "given without sslmode=verify-full".into();
            return Err(wrong(
                "sslrootcert",
                found,
                "sslrootcert=FILE or sslrootcert=system, with sslmode=verify-full",
            ));
        }
        let roots = verifies.then(|| roots.unwrap_or("system").into());
        Ok((address.rest(), Security { mode, roots }))
    }

    pub(super) fn mode(&self) -> SslMode {
        self.mode
    }

    /// What makes connections secure.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, PostgresError> {
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|fault| wrong("sslmode", fault.to_string(), SSL_MODES))?;
        let config = match &self.roots {
            Some(roots) => builder.with_root_certificates(read_roots(roots)?).with_no_client_auth(),
            None => {
                let anybody = Arc::new(Anybody(provider.signature_verification_algorithms));
                builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
            }
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

fn wrong(what: &'static str, found: String, accepted: &'static str) -> PostgresError {
    PostgresError::Address { what, found, accepted }
}

fn read_roots(from: &str) -> Result<RootCertStore, PostgresError> {
    let wrong = |found| wrong("sslrootcert", found, "a file with certificates in PEM, or system");
    let certificates = if from == "system" {
        rustls_native_certs::load_native_certs().certs
    } else {
        let read = CertificateDer::pem_file_iter(from).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        read.map_err(|fault| wrong(format!("{from}: {fault}")))?
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(wrong(format!("{from} names nobody"))) } else { Ok(roots) }
}

/// Takes everybody for the server, as libpq does unless it is told to verify. What is sent is still encrypted.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
