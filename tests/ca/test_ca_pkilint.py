"""pkilint over every kind of certificate and CRL that the CA makes: nothing of severity ERROR or above."""

import itertools
from ipaddress import ip_address

import pytest
from cryptography import x509

from scep_server.ca.crl import _CODES
from scep_server.types import RevokedCertificate
from tests.ca import ca_orders
from tests.ca.ca_orders import EC_DEVICE, EMPTY_NAME, NOW, RSA_DEVICE, device_order, issue, san
from tests.ca.linters import certificate_errors, crl_errors
from tests.ca.test_ca_crl import WEEK

SANS = {
    "dns": san(x509.DNSName("device.example")),
    "email": san(x509.RFC822Name("user@device.example")),
    "uri": san(x509.UniformResourceIdentifier("https://device.example/1")),  # it takes any urn for a mistake
    "ip": san(x509.IPAddress(ip_address("192.0.2.1")), x509.IPAddress(ip_address("2001:db8::1"))),
    "upn": san(x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x06u@corp")),
    "dirname": san(x509.DirectoryName(x509.Name.from_rfc4514_string("CN=Other,O=Org"))),
    "rid": san(x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4"))),
}


@pytest.mark.parametrize("kind", [("rsa2048", "ra"), ("p256", "ra"), ("p384", "ra"), ("rsa2048", "ca")])
def test_hierarchy(loaded, kind):
    ca = loaded(*kind)
    for der in {*ca.scep_certificates, ca.certificates.root}:
        assert certificate_errors(der) == []


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_devices(loaded, kind):
    authority = loaded(kind).authority
    for key, subject in itertools.product((RSA_DEVICE, EC_DEVICE), (ca_orders.name("device-1"), EMPTY_NAME)):
        for label, names in SANS.items():
            der = issue(authority, device_order(subject=subject, key=key, names=names)).der
            assert certificate_errors(der) == [], label
    assert certificate_errors(issue(authority, device_order()).der) == []


@pytest.mark.parametrize("kind", [("p256", "ra", 1), ("rsa2048", "ra", 4)])
def test_lists(loaded, kind):
    entries = [RevokedCertificate(2**126 + code, NOW, reason) for reason, code in _CODES.items()]
    for listed in ([], entries):
        signed = loaded(*kind).authority.sign_crl(0, 1, NOW, NOW + WEEK, listed)
        assert crl_errors(signed.der) == []


def test_the_linter_would_tell(loaded):
    der = issue(loaded("p256").authority, device_order(names=SANS["dns"])).der
    assert certificate_errors(der.replace(b"device.example", b"device..exampl")) != []
