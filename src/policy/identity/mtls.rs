//! Source `mtls`: names of a client certificate that TLS has already verified.

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::settings::{MtlsSettings, SanKind};
use super::{Found, Kind, Principal, Shown};
use crate::base::clock::Wall;

/// What a certificate shows, read once per connection. One that cannot be read shows nothing, and vouches for nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certified {
    names: Option<Vec<(SanKind, String)>>,
    ends: Wall,
}

/// Read a certificate (DER).
#[must_use]
pub fn read(der: &[u8]) -> Certified {
    let Ok(certificate) = Certificate::from_der(der) else { return Certified::default() };
    let ends = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    Certified { names: names(&certificate), ends: u64::try_from(ends.as_micros()).unwrap_or(u64::MAX) }
}

/// The first name of the configured kinds. A certificate without one is nobody: the subject's common name is not read.
#[must_use]
pub fn judge(settings: &MtlsSettings, shown: &Shown<'_>, now: Wall) -> Found {
    let Some(shown) = shown.certificate else { return Found::Nothing };
    let Some(names) = &shown.names else { return Found::Bad("the client certificate cannot be read") };
    // TLS has looked at the clock once; the connection may outlive the certificate.
    if now > shown.ends {
        return Found::Bad("the client certificate has expired");
    }
    let first = settings.names.iter().find_map(|wanted| names.iter().find(|(kind, _)| kind == wanted));
    match first {
        None => Found::Bad("the client certificate has no name that counts"),
        Some((kind, name)) => Found::Principal(Principal {
            name: name.clone(),
            source: "mtls",
            kind: if *kind == SanKind::Email { Kind::User } else { Kind::Workload },
            ..Principal::default()
        }),
    }
}

/// Subject alternative names, with control characters in none of them.
fn names(certificate: &Certificate) -> Option<Vec<(SanKind, String)>> {
    let extension: Option<(bool, SubjectAltName)> = certificate.tbs_certificate.get().ok()?;
    let names = extension.map(|(_, names)| names.0).unwrap_or_default();
    let named = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) if uri.as_str().starts_with("spiffe://") => {
            Some((SanKind::Spiffe, uri.to_string()))
        }
        GeneralName::Rfc822Name(email) => Some((SanKind::Email, email.to_string())),
        GeneralName::DnsName(name) => Some((SanKind::Dns, name.to_string())),
        _ => None,
    };
    let plain =
        |(_, name): &(SanKind, String)| !name.is_empty() && name.bytes().all(|b| (0x21..0x7f).contains(&b));
    Some(names.iter().filter_map(named).filter(plain).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use crate::base::settings::Place;
    use crate::policy::identity::settings::SourceKind;

    fn certificate(names: Vec<rcgen::SanType>) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "admin");
        params.subject_alt_names = names;
        let key = rcgen::KeyPair::generate().expect("key");
        params.self_signed(&key).expect("certificate").der().to_vec()
    }

    fn judged(der: Option<&[u8]>) -> Found {
        let settings = MtlsSettings {
            place: Place::default(),
            source: SourceKind::Mtls,
            names: vec![SanKind::Spiffe, SanKind::Email, SanKind::Dns],
        };
        let (evidence, shown) = (Evidence::default(), der.map(read));
        judge(&settings, &Shown { certificate: shown.as_ref(), ..Shown::of(&evidence, &[]) }, 1)
    }

    #[test]
    fn names_by_kind() {
        let text = |name: &str| name.try_into().expect("IA5 text");
        let spiffe = rcgen::SanType::URI(text("spiffe://example.org/ci"));
        let email = rcgen::SanType::Rfc822Name(text("alice@example.com"));
        let dns = rcgen::SanType::DnsName(text("build.example.com"));
        for (names, name, kind) in [
            (vec![dns.clone(), email.clone(), spiffe.clone()], "spiffe://example.org/ci", Kind::Workload),
            (vec![dns.clone(), email.clone()], "alice@example.com", Kind::User),
            (vec![dns], "build.example.com", Kind::Workload),
        ] {
            let der = certificate(names);
            let Found::Principal(who) = judged(Some(&der)) else { panic!("{name}") };
            assert_eq!((who.name.as_str(), who.kind), (name, kind));
        }
    }

    #[test]
    fn a_certificate_without_a_name_or_without_sense_is_refused() {
        assert!(matches!(judged(Some(&certificate(Vec::new()))), Found::Bad(_)));
        let der = certificate(vec![rcgen::SanType::URI(
            "https://example.org/not-spiffe".try_into().expect("text"),
        )]);
        assert!(matches!(judged(Some(&der)), Found::Bad(_)));
        for cut in 0..der.len() {
            assert!(matches!(judged(Some(&der[..cut])), Found::Bad(_)), "{cut}");
        }
        assert!(matches!(judged(None), Found::Nothing));
    }

    #[test]
    fn a_connection_that_outlives_its_certificate_is_nobodys() {
        let shown = read(&certificate(vec![rcgen::SanType::DnsName("a.example".try_into().expect("text"))]));
        let settings =
            MtlsSettings { place: Place::default(), source: SourceKind::Mtls, names: vec![SanKind::Dns] };
        let evidence = Evidence::default();
        let evident = Shown { certificate: Some(&shown), ..Shown::of(&evidence, &[]) };
        assert!(matches!(judge(&settings, &evident, shown.ends), Found::Principal(_)));
        assert!(matches!(judge(&settings, &evident, shown.ends + 1), Found::Bad(_)));
    }
}
