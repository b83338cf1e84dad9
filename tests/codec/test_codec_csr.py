"""Certification requests as devices send them (T10, R51, R56, N9, N15, N23, R3)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from scep_server.codec.csr import parse_csr
from scep_server.errors import Malformed, Reason, Refusal, TooLarge
from tests.e2e.der import (
    algorithm,
    attribute,
    bits,
    boolean,
    context,
    ia5,
    integer,
    octets,
    oid,
    printable,
    sequence,
    set_of,
    tlv,
    utf8,
)
from tests.e2e.identities import (
    CHALLENGE_PASSWORD,
    certification_request,
    dns_san,
    ec_key,
    extension,
    extension_request,
    name,
    rdn,
    rsa_key,
    sign,
    signature_algorithm,
    spki,
)

SUBJECT = name(("O", "Example"), ("CN", "device"))
MICROSOFT_REQUEST = "1.3.6.1.4.1.311.2.1.14"


def signed(info: bytes, key: object = None, digest: str = "sha256", identifier: bytes | None = None) -> bytes:
    key = key or rsa_key()
    return sequence(info, identifier or signature_algorithm(key, digest), bits(sign(key, info, digest)))


def raw(*attributes: bytes, key: object = None, subject: bytes = SUBJECT) -> bytes:
    """A CSR with these attributes in exactly this order."""
    return signed(sequence(integer(0), subject, spki(key or rsa_key()), context(0, *attributes)), key)


def test_everything_of_an_ordinary_request_is_read():
    der = certification_request(rsa_key(), SUBJECT, challenge="secret", extensions=[dns_san("a.example")])
    request = parse_csr(der)
    assert (request.subject, request.spki, request.challenge) == (SUBJECT, spki(rsa_key()), "secret")
    assert [(e.oid, e.critical) for e in request.extensions] == [("2.5.29.17", False)]
    assert request.info in der
    assert request.der == der
    assert request.public_key == rsa_key().public_key()
    assert "secret" not in repr(request)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("make_key", [rsa_key, ec_key])
def test_permitted_signatures_verify(make_key, digest):
    assert parse_csr(certification_request(make_key(), SUBJECT, digest=digest)).subject == SUBJECT


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_larger_curves_are_read(curve):
    assert parse_csr(certification_request(ec.generate_private_key(curve), SUBJECT)).spki


@pytest.mark.parametrize(
    "element",
    [
        printable("pass word"),
        utf8("pass word"),
        ia5("pass word"),
        tlv(0x14, b"pass word"),
        tlv(0x1E, "pass word".encode("utf-16-be")),
        tlv(0x1C, "pass word".encode("utf-32-be")),
    ],
    ids=["printable", "utf8", "ia5", "t61", "bmp", "universal"],
)
def test_challenge_in_every_string_type(element):
    assert parse_csr(certification_request(rsa_key(), SUBJECT, challenge=element)).challenge == "pass word"


def test_challenge_may_be_empty_or_absent_and_these_differ():
    assert parse_csr(certification_request(rsa_key(), SUBJECT, challenge="")).challenge == ""
    assert parse_csr(certification_request(rsa_key(), SUBJECT)).challenge is None


@pytest.mark.parametrize(
    "element",
    [printable("secret\0"), utf8("\0"), utf8("a\0b"), tlv(0x1E, b"\0"), tlv(0x0C, b"\xc1\x81"), integer(5), sequence()],
    ids=["trailing NUL", "NUL", "NUL inside", "odd BMPString", "overlong UTF-8", "INTEGER", "SEQUENCE"],
)
def test_challenge_of_other_bytes_is_malformed(element):
    with pytest.raises(Malformed):
        parse_csr(certification_request(rsa_key(), SUBJECT, challenge=element))


def test_attributes_in_any_order():
    challenge, wishes = attribute(CHALLENGE_PASSWORD, utf8("secret")), extension_request(dns_san("a.example"))
    unknown = attribute("1.3.6.1.4.1.311.13.2.3", ia5("10.0.1"), ia5("10.0.0"))
    for order in ((challenge, wishes, unknown), (unknown, wishes, challenge), (wishes, unknown, challenge)):
        request = parse_csr(raw(*order))
        assert (request.challenge, len(request.extensions)) == ("secret", 1)


def test_attributes_empty_or_missing():
    assert parse_csr(raw()).extensions == ()
    assert parse_csr(signed(sequence(integer(0), SUBJECT, spki(rsa_key())))).challenge is None


def test_microsoft_extension_request_is_the_same_wish():
    request = parse_csr(raw(attribute(MICROSOFT_REQUEST, sequence(dns_san("a.example")))))
    assert [e.oid for e in request.extensions] == ["2.5.29.17"]


def test_an_encoded_default_false_is_read_as_not_critical():
    wish = sequence(oid("2.5.29.17"), boolean(False), octets(sequence(tlv(0x82, b"a.example"))))
    assert parse_csr(raw(extension_request(wish))).extensions[0].critical is False


@pytest.mark.parametrize(
    "attributes",
    [
        (extension_request(dns_san("a.example")), extension_request(dns_san("b.example"))),
        (extension_request(dns_san("a.example")), attribute(MICROSOFT_REQUEST, sequence(dns_san("b.example")))),
        (extension_request(dns_san("a.example"), dns_san("b.example")),),
        (attribute(CHALLENGE_PASSWORD, utf8("a")), attribute(CHALLENGE_PASSWORD, utf8("b"))),
        (attribute(CHALLENGE_PASSWORD, utf8("a"), utf8("b")),),
        (sequence(oid(CHALLENGE_PASSWORD), set_of()),),
        (extension_request(extension("2.5.29.17", sequence())),),
        (extension_request(extension("2.5.29.17", b"\x04\x00")),),
        (sequence(oid(CHALLENGE_PASSWORD), utf8("a")),),
    ],
    ids=[
        "two requests",
        "both forms",
        "extension twice",
        "challenge twice",
        "two values",
        "no value",
        "empty SAN",
        "SAN of another type",
        "value without SET",
    ],
)
def test_what_can_be_read_in_two_ways_is_malformed(attributes):
    with pytest.raises(Malformed):
        parse_csr(raw(*attributes))


def test_possession_is_verified():
    with pytest.raises(Malformed, match="self-signature"):
        parse_csr(certification_request(rsa_key(), SUBJECT, signer=rsa_key(1)))
    with pytest.raises(Malformed, match="self-signature"):
        parse_csr(certification_request(ec_key(), SUBJECT, signer=ec_key(1)))
    der = certification_request(rsa_key(), SUBJECT)
    with pytest.raises(Malformed, match="self-signature"):
        parse_csr(der.replace(b"device", b"divece"))


def test_an_ecdsa_signature_of_zeros_does_not_verify():
    info = sequence(integer(0), SUBJECT, spki(ec_key()), context(0))
    for r, s in ((0, 0), (0, 1), (1, 0)):
        forged = sequence(info, signature_algorithm(ec_key()), bits(sequence(integer(r), integer(s))))
        with pytest.raises(Malformed):
            parse_csr(forged)


def test_sha1_only_where_it_is_allowed():
    der = certification_request(rsa_key(), SUBJECT, digest="sha1")
    assert parse_csr(der, allow_sha1=True).subject == SUBJECT
    with pytest.raises(Refusal) as refused:
        parse_csr(der)
    assert refused.value.reason is Reason.ALGORITHM


def test_md5_never_and_weak_hashes_are_named_only_after_they_verified():
    with pytest.raises(Refusal) as refused:
        parse_csr(certification_request(rsa_key(), SUBJECT, digest="md5"), allow_sha1=True)
    assert refused.value.reason is Reason.ALGORITHM
    for digest in ("md5", "sha1"):
        with pytest.raises(Malformed):
            parse_csr(certification_request(rsa_key(), SUBJECT, digest=digest, signer=rsa_key(1)))


@pytest.mark.parametrize(
    "identifier",
    [
        algorithm("1.2.840.113549.1.1.1"),
        algorithm("1.2.840.113549.1.1.10", sequence()),
        algorithm("1.2.840.10045.4.3.2"),
        algorithm("1.2.840.113549.1.1.11", sequence(integer(1))),
    ],
    ids=["no hash", "PSS", "ECDSA for RSA", "odd parameters"],
)
def test_other_signature_algorithms_are_malformed(identifier):
    info = sequence(integer(0), SUBJECT, spki(rsa_key()), context(0))
    with pytest.raises(Malformed):
        parse_csr(signed(info, identifier=identifier))


def test_absent_parameters_are_tolerated():
    info = sequence(integer(0), SUBJECT, spki(rsa_key()), context(0))
    assert parse_csr(signed(info, identifier=algorithm("1.2.840.113549.1.1.11", b"")))


def rsa_spki(modulus: int, exponent: int) -> bytes:
    return sequence(algorithm("1.2.840.113549.1.1.1"), bits(sequence(integer(modulus), integer(exponent))))


@pytest.mark.parametrize(
    "public_key",
    [
        rsa_spki(rsa_key().public_key().public_numbers().n << 2049 | 1, 65537),
        rsa_spki((1 << 16384) + 1, 65537),
        rsa_spki(rsa_key().public_key().public_numbers().n, (1 << 2000) + 1),
        rsa_spki(-5, 65537),
        rsa_spki(rsa_key().public_key().public_numbers().n + 1, 65537),
        sequence(
            algorithm("1.3.101.112", b""), bits(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw())
        ),
        sequence(algorithm("1.2.840.10045.2.1", oid("1.2.840.10045.3.1.7")), bits(b"\x04" + bytes(63) + b"\x01")),
        sequence(algorithm("1.2.840.10045.2.1", oid("1.2.840.10045.3.1.7")), bits(b"\x00")),
        sequence(algorithm("1.2.840.10045.2.1", sequence(integer(1))), bits(b"\x04" + bytes(64))),
        spki(ec.generate_private_key(ec.SECP256K1())),
        sequence(),
    ],
    ids=[
        "RSA 4097",
        "RSA 16384",
        "huge exponent",
        "negative modulus",
        "even modulus",
        "Ed25519",
        "off curve",
        "infinity",
        "explicit parameters",
        "another curve",
        "nothing",
    ],
)
def test_keys_that_are_not_worked_with(public_key):
    with pytest.raises(Malformed):
        parse_csr(certification_request(rsa_key(), SUBJECT, public_key=public_key))


def test_weak_keys_are_read_so_that_policy_can_name_the_reason():
    small = rsa.generate_private_key(3, 1024)
    assert parse_csr(certification_request(small, SUBJECT)).public_key.key_size == 1024


def test_limits():
    long = "x" * 257
    many = sequence(*(rdn(("CN", utf8(f"{n}"))) for n in range(51)))
    sans = dns_san(*(f"{n}.example" for n in range(101)))
    assert parse_csr(raw(subject=name(("CN", "x" * 256)))).subject
    assert parse_csr(raw(extension_request(dns_san(*(f"{n}.example" for n in range(100))))))
    for subject in (name(("CN", long)), many, sequence(*(rdn(("CN", utf8("x"))) for _ in range(900)))):
        with pytest.raises(Malformed):
            parse_csr(raw(subject=subject))
    with pytest.raises(Malformed):
        parse_csr(raw(extension_request(sans)))
    with pytest.raises(TooLarge):
        parse_csr(raw(attribute("1.2.3.4", octets(bytes(16 * 1024)))))


@pytest.mark.parametrize(
    "bend",
    [
        lambda der: der + b"\0",
        lambda der: der[:-1],
        lambda der: b"",
        lambda der: b"\x30\x80" + der[4:] + b"\0\0",
        lambda der: der.replace(b"\x02\x01\x00", b"\x02\x01\x01", 1),
    ],
    ids=["trailing byte", "cut", "empty", "indefinite length", "version 1"],
)
def test_other_bytes_are_malformed(bend):
    with pytest.raises(Malformed):
        parse_csr(bend(certification_request(rsa_key(), SUBJECT)))
