//! Certificate files → what a listener shows and whom it believes.
//!
//! With a client authority every client must show a certificate of it; names are judged later, by `mtls`. Sessions are
//! remembered within one set of files only: with new files comes a new memory, so nothing outlives what it was judged by.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::compile::Tls;

/// The TLS of each listener, in their order.
pub type PerListener = Arc<Vec<Option<Arc<ServerConfig>>>>;

/// Read one listener's files. The words name the file.
pub fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&tls.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key)?).map_err(|why| said(&tls.key, &why))?;
    let clients = match &tls.client_ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(path) => clients_of(path, &provider)?,
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key);
    let mut config = config.map_err(|why| said(&tls.cert, &why))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn clients_of(
    path: &Path,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path)? {
        roots.add(authority).map_err(|why| said(path, &why))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    verifier.map_err(|why| said(path, &why))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|why| said(path, &why))?;
    if found.is_empty() { Err(said(path, &"it holds no certificate")) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|why| said(path, &why))
}

fn said(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_names_it() {
        let dir = tempfile::tempdir().expect("folder");
        let made = rcgen::generate_simple_self_signed(vec!["weir.example".into()]).expect("certificate");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("cert"), made.cert.pem()).expect("written");
        std::fs::write(path("key"), made.signing_key.serialize_pem()).expect("written");
        std::fs::write(path("other"), rcgen::KeyPair::generate().expect("key").serialize_pem())
            .expect("written");
        std::fs::write(path("empty"), "").expect("written");
        let of = |cert: &str, key: &str, ca: Option<&str>| {
            server_config(&Tls { cert: path(cert), key: path(key), client_ca: ca.map(path) }).map(drop)
        };
        assert_eq!(of("cert", "key", None), Ok(()));
        assert_eq!(of("cert", "key", Some("cert")), Ok(()));
        for (cert, key, ca, blamed) in [
            ("none", "key", None, "none"),
            ("empty", "key", None, "empty"),
            ("cert", "empty", None, "empty"),
            ("cert", "other", None, "cert"),
            ("cert", "key", Some("empty"), "empty"),
            ("cert", "key", Some("key"), "key"),
        ] {
            let why = of(cert, key, ca).expect_err(blamed);
            assert!(why.contains(&format!("/{blamed}: ")), "{why}");
        }
    }
}
