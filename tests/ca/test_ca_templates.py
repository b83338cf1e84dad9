"""Our concatenated tbsCertificate against the cryptography package's builder: the same bytes."""

import itertools
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from scep_server.ca.identities import signature_hash
from scep_server.ca.signer import SoftwareSigner
from scep_server.ca.templates import DeviceTemplate, key_usage
from tests.ca.ca_orders import EC_DEVICE, EMPTY_NAME, NOW, RSA_DEVICE, name, san, spki_of

ISSUER = x509.Name.from_rfc4514_string("CN=Issuer,O=Größe GmbH")
IDENTIFIER = bytes(range(20))
CRL_URL, CA_URL = "http://ca.example/crl/aa/0.crl", "http://ca.example/ca/aa.cer"

SANS = {
    "none": None,
    "dns": san(x509.DNSName("device.example")),
    "email": san(x509.RFC822Name("user@device.example")),
    "uri": san(x509.UniformResourceIdentifier("urn:device:1")),
    "ip": san(x509.IPAddress(ip_address("192.0.2.1")), x509.IPAddress(ip_address("2001:db8::1"))),
    "upn": san(x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x06u@corp")),
    "dirname": san(x509.DirectoryName(x509.Name.from_rfc4514_string("CN=Other,O=Org"))),
    "rid": san(x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4"))),
    "many": san(*(x509.DNSName(f"host-{number}.device.example") for number in range(100))),
}


def by_builder(signing_key, device_key, subject, names, not_after, serial):
    builder = (
        x509.CertificateBuilder()
        .serial_number(serial)
        .issuer_name(ISSUER)
        .subject_name(subject)
        .public_key(device_key.public_key())
        .not_valid_before(NOW)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=not subject.rdns)
    access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(CA_URL))
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(CRL_URL)], None, None, None)
    builder = (
        builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(device_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(IDENTIFIER, None, None), critical=False)
        .add_extension(x509.CRLDistributionPoints([point]), critical=False)
        .add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    )
    return builder.sign(signing_key, signature_hash(signing_key)).tbs_certificate_bytes


def parsed_names(value):
    """The builder's own object for our SAN bytes, read from a certificate that carries them."""
    if value is None:
        return None
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, value), critical=False)
    csr = x509.load_der_x509_csr(request.sign(EC_DEVICE, signature_hash(EC_DEVICE)).public_bytes(Encoding.DER))
    return csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
@pytest.mark.parametrize("device", [RSA_DEVICE, EC_DEVICE], ids=["rsa", "ec"])
def test_same_bytes_as_the_builder(loaded, kind, device):
    signing_key = loaded(kind).authority._signer._key
    template = DeviceTemplate(
        algorithm=SoftwareSigner(signing_key).algorithm,
        issuer=ISSUER.public_bytes(),
        issuer_key_identifier=IDENTIFIER,
        crl_urls=[CRL_URL],
        issuer_certificate_url=CA_URL,
    )
    subjects = [name("device-1"), x509.Name.from_rfc4514_string("CN=a,OU=b+OU=c,O=ö,C=DE").public_bytes(), EMPTY_NAME]
    ends = [NOW + timedelta(days=365), datetime(2050, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)]
    for subject, (label, names), not_after in itertools.product(subjects, SANS.items(), ends):
        if subject == EMPTY_NAME and names is None:
            continue
        serial = 0x53 << 128 | len(label)
        tbs = template.tbs(
            serial=serial,
            not_before=NOW,
            not_after=not_after,
            subject=subject,
            spki=spki_of(device),
            san=names,
            shard=0,
        )
        expected = by_builder(signing_key, device, parse_name(subject), parsed_names(names), not_after, serial)
        assert tbs == expected, label


def parse_name(subject):
    """x509.Name of DER, by way of a certificate that carries it."""
    template = DeviceTemplate(
        algorithm=SoftwareSigner(EC_DEVICE).algorithm,
        issuer=subject,
        issuer_key_identifier=IDENTIFIER,
        crl_urls=[CRL_URL],
        issuer_certificate_url=CA_URL,
    )
    times = {"not_before": NOW, "not_after": NOW + timedelta(days=1)}
    tbs = template.tbs(serial=1, **times, subject=subject, spki=spki_of(EC_DEVICE), san=None, shard=0)
    parsed = x509.load_der_x509_certificate(SoftwareSigner(EC_DEVICE).sign(tbs)).subject
    assert parsed.public_bytes() == subject
    return parsed
