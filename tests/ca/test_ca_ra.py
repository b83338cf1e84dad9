"""The RA key: unwraps what is its own, answers everything else with random bytes of the right length (N12)."""

import os

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from scep_server.ca import SoftwareRaKey
from scep_server.errors import ConfigurationError
from scep_server.types import Digest, KeyTransport, RecipientId, WrappedKey
from tests.ca.ca_orders import EC_DEVICE, RSA_DEVICE, device_order, issue

PADDINGS = {
    KeyTransport.PKCS1_V15: padding.PKCS1v15(),
    KeyTransport.OAEP_SHA1: padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    KeyTransport.OAEP_SHA256: padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
}


@pytest.fixture(scope="module", params=["ra", "ca"])
def ra_key(request, loaded):
    return loaded("rsa2048", request.param).ra_key


def public_key_of(ra_key):
    return x509.load_der_x509_certificate(ra_key.certificate.der).public_key()


def wrapped(encrypted_key, transport=KeyTransport.PKCS1_V15, key_length=16):
    return WrappedKey(RecipientId(), transport, encrypted_key, key_length)


@pytest.mark.parametrize("transport", list(KeyTransport))
@pytest.mark.parametrize("key_length", [16, 24, 32])
def test_unwraps_its_own(ra_key, transport, key_length):
    content_key = os.urandom(key_length)
    encrypted_key = public_key_of(ra_key).encrypt(content_key, PADDINGS[transport])
    assert ra_key.unwrap(wrapped(encrypted_key, transport, key_length)) == content_key


def bad_keys(ra_key, transport):
    public_key = public_key_of(ra_key)
    good = public_key.encrypt(b"k" * 16, PADDINGS[transport])
    modulus = public_key.public_numbers().n
    yield "empty", b""
    yield "one byte short", good[1:]
    yield "one byte long", b"\x00" + good
    yield "zero", bytes(256)
    yield "one", (1).to_bytes(256, "big")
    yield "modulus less one", (modulus - 1).to_bytes(256, "big")
    yield "modulus", modulus.to_bytes(256, "big")
    yield "beyond the modulus", b"\xff" * 256
    yield "changed", good[:-1] + bytes((good[-1] ^ 1,))
    yield "key of another length", public_key.encrypt(b"k" * 24, PADDINGS[transport])
    yield "empty key", public_key.encrypt(b"", PADDINGS[transport])
    yield "for somebody else", RSA_DEVICE.public_key().encrypt(b"k" * 16, PADDINGS[transport])
    other = next(known for known in KeyTransport if known is not transport)
    yield "padded otherwise", public_key.encrypt(b"k" * 16, PADDINGS[other])


@pytest.mark.parametrize("transport", list(KeyTransport))
def test_everything_else_gives_random_bytes_of_the_wanted_length(ra_key, transport):
    for label, encrypted_key in bad_keys(ra_key, transport):
        answers = {ra_key.unwrap(wrapped(encrypted_key, transport)) for _ in range(2)}
        assert {len(answer) for answer in answers} == {16}, label
        assert b"k" * 16 not in answers, label
        assert bytes(16) not in answers, label


class WatchedKey:
    """The RA's key, telling what it was given to decrypt."""

    def __init__(self, key):
        self._key, self.given = key, []

    def __getattr__(self, name):
        return getattr(self._key, name)

    def decrypt(self, ciphertext, scheme):
        self.given.append(ciphertext)
        return self._key.decrypt(ciphertext, scheme)


def test_every_input_costs_one_private_operation_on_a_possible_number(ra_key):
    modulus = public_key_of(ra_key).public_numbers().n
    watched = WatchedKey(ra_key._key)
    fresh = SoftwareRaKey(watched, ra_key.certificate)
    labels = [
        label
        for label, encrypted_key in bad_keys(ra_key, KeyTransport.PKCS1_V15)
        if fresh.unwrap(wrapped(encrypted_key))
    ]
    assert len(watched.given) == len(labels) > 10
    assert all(len(given) == 256 and int.from_bytes(given, "big") < modulus for given in watched.given)


def test_substitutes_are_fresh_each_time(ra_key):
    impossible = wrapped(b"\xff" * 256)
    assert len({ra_key.unwrap(impossible) for _ in range(20)}) == 20


@pytest.mark.parametrize("digest", list(Digest))
def test_signs_with_each_digest(ra_key, digest):
    algorithm = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
    signature = ra_key.sign(b"signed attributes", digest)
    public_key = public_key_of(ra_key)
    public_key.verify(signature, b"signed attributes", padding.PKCS1v15(), algorithm[digest.value])
    with pytest.raises(InvalidSignature):
        public_key.verify(signature, b"other attributes", padding.PKCS1v15(), algorithm[digest.value])


def test_certificate_is_the_recipients(loaded):
    ca = loaded("rsa2048", "ra")
    assert ca.ra_key.certificate.der == ca.scep_certificates[0]
    assert ca.ra_key.certificate.issuer_id == ca.authority.issuer_id


def test_key_and_certificate_must_belong_together(loaded):
    ca = loaded("rsa2048", "ra")
    with pytest.raises(ConfigurationError, match="does not belong"):
        SoftwareRaKey(rsa.generate_private_key(public_exponent=65537, key_size=2048), ca.ra_key.certificate)
    with pytest.raises(ConfigurationError, match="no RSA key"):
        SoftwareRaKey(RSA_DEVICE, issue(ca.authority, device_order(key=EC_DEVICE)))
