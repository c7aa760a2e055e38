"""A network certificate is the same for the same input, names its key, and nothing else passes for one."""

from __future__ import annotations

import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from node.network.certificates import NO_EXPIRY_MS, BadNetworkCertificate, make_certificate, read_certificate
from protocol import limits

SEED = bytes(range(32))


def test_the_same_input_gives_the_same_bytes() -> None:
    assert make_certificate(SEED, "St. Mary") == make_certificate(SEED, "St. Mary")
    assert make_certificate(SEED, "St. Mary") != make_certificate(SEED, "St. Mary", serial=2)


def test_it_says_whose_key_it_is_and_until_when() -> None:
    facts = read_certificate(make_certificate(SEED, "St. Mary", not_before_ms=1_000, not_after_ms=9_000))
    assert facts.name == "St. Mary"
    assert facts.public_key == Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
    assert (facts.not_before_ms, facts.not_after_ms) == (1_000, 9_000)
    assert read_certificate(make_certificate(SEED, "a")).not_after_ms == NO_EXPIRY_MS


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=limits.NAME_BYTES))
def test_every_institution_name_fits(name: str) -> None:
    der = make_certificate(SEED, name)
    assert len(der) <= limits.CERTIFICATE_DER_BYTES
    assert name.startswith(read_certificate(der).name)


def test_institutions_of_one_name_have_subjects_of_their_own_and_key_identifiers() -> None:
    one, two = (x509.load_der_x509_certificate(make_certificate(bytes([n]) * 32, "Clinic")) for n in (1, 2))
    assert one.subject != two.subject
    identifier = one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = one.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert identifier.digest == authority.key_identifier


def test_what_is_no_self_signed_certificate_is_refused() -> None:
    der = make_certificate(SEED, "Clinic")
    forged = der[:-1] + bytes([der[-1] ^ 1])
    for wrong in (b"", b"\x30\x00", der[:-1], forged, der + bytes(limits.CERTIFICATE_DER_BYTES)):
        with pytest.raises(BadNetworkCertificate):
            read_certificate(wrong)


def altered(before: bytes, after: bytes) -> bytes:
    """A certificate in which this stands for that, as long, where it stands first; signed anew."""
    der = make_certificate(SEED, "CLINIC")
    certificate = x509.load_der_x509_certificate(der)
    content = certificate.tbs_certificate_bytes
    assert before in content
    changed = content.replace(before, after, 1)
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(changed)
    return der.replace(content, changed).replace(certificate.signature, signature)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"CLINIC", b"\xff" * 6),  # the issuer's name, which only OpenSSL looks at
        (b"\x30\x05\x06\x03\x2b\x65\x70\x03", b"\x30\x05\x06\x03\x2b\x65\x7a\x03"),  # a kind of key nobody knows
    ],
)
def test_what_would_stop_every_node_that_loads_it_is_refused(before: bytes, after: bytes) -> None:
    assert read_certificate(altered(b"CLINIC", b"clinic"))
    with pytest.raises(BadNetworkCertificate):
        read_certificate(altered(before, after))


def test_what_was_read_is_not_read_again() -> None:
    der = make_certificate(SEED, "St. Mary")
    assert read_certificate(der) is read_certificate(bytes(bytearray(der)))


def test_openssl_takes_together_whatever_was_read() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(cadata=altered(b"CLINIC", b"clinic") + make_certificate(bytes(32), "Clinic"))
    assert context.cert_store_stats()["x509"] == 2


def test_nobody_takes_anothers_subject_and_key_identifier() -> None:
    """OpenSSL would find this one where the other's is asked for, and refuse the other's connections."""
    victim = x509.load_der_x509_certificate(make_certificate(SEED, "Clinic"))
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    builder = (
        x509.CertificateBuilder()
        .subject_name(victim.subject)
        .issuer_name(victim.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(victim.not_valid_before_utc)
        .not_valid_after(victim.not_valid_after_utc)
    )
    bare = builder.sign(key, None).public_bytes(serialization.Encoding.DER)
    for extension in victim.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    for mimic in (bare, builder.sign(key, None).public_bytes(serialization.Encoding.DER)):
        with pytest.raises(BadNetworkCertificate):
            read_certificate(mimic)
