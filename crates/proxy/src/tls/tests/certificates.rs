use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::certificate::{Certificate, end_point};
use super::{Authority, fixture, named};

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn der_of(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(fixture(&format!("{name}.pem"))).unwrap()
}

#[test]
fn end_point_is_the_hash_that_openssl_computes() {
    let expected = std::fs::read_to_string(fixture("end-points.txt")).unwrap();
    assert_eq!(expected.lines().count(), 5);
    for line in expected.lines() {
        let (name, hash) = line.split_once(' ').unwrap();
        let found = end_point(&der_of(name)).unwrap();
        let found: String = found.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found, hash, "{name}");
    }
}

#[test]
fn an_algorithm_without_a_hash_has_no_end_point() {
    assert_eq!(end_point(&der_of("ed25519")), None);
}

#[test]
fn a_cut_or_flipped_certificate_is_no_reason_to_panic() {
    let whole = der_of("rsa-pss-sha512");
    for length in 0..whole.len() {
        let cut = &whole[..length];
        assert_eq!(end_point(cut), None, "{length}");
        assert!(Certificate::read(cut).is_err(), "{length}");
    }
    for index in 0..whole.len() {
        let mut flipped = whole.to_vec();
        flipped[index] ^= 0xff;
        let _ = end_point(&flipped);
        if let Ok(c) = Certificate::read(&flipped) {
            let _ = (c.is_of_host_by_common_name("x"), c.validity());
        }
    }
}

#[test]
fn versions_are_counted_from_one() {
    for (name, version) in [("version-1", 1), ("rsa-sha256", 3)] {
        let der = der_of(name);
        assert_eq!(Certificate::read(&der).unwrap().version(), version);
    }
}

#[test]
fn a_certificate_without_names_is_nobodys() {
    let authority = Authority::new("authority");
    let pem = authority.issue(named(None, &[])).certificate;
    let der = der(&pem);
    let certificate = Certificate::read(&der).unwrap();
    assert!(!certificate.is_of_host_by_common_name(""));
    assert!(!certificate.is_of_host_by_common_name("alice"));
}

#[test]
fn only_the_first_of_several_common_names_counts() {
    let mut params = named(None, &[]);
    let oid = vec![2, 5, 4, 3];
    (params.distinguished_name).push(rcgen::DnType::CommonName, "first");
    (params.distinguished_name).push(rcgen::DnType::CustomDnType(oid), "second");
    let pem = Authority::new("authority").issue(params).certificate;
    let der = der(&pem);
    let certificate = Certificate::read(&der).unwrap();
    assert!(certificate.is_of_host_by_common_name("first"));
    assert!(!certificate.is_of_host_by_common_name("second"));
}
