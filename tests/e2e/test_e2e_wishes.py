"""Requests that ask for what nobody may have (N5, N9, N14 to N16): refused, or issued without it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.e2e.crafted import attributes_of, message, pkcs_req, seal
from tests.e2e.der import boolean, context, ia5, octets, oid, printable, sequence, set_of, tlv, utf8
from tests.e2e.identities import (
    CHALLENGE_PASSWORD,
    SAN,
    Device,
    certification_request,
    dns_san,
    extension,
    extension_request,
    name,
    rdn,
    rsa_key,
    spki,
    subject_of,
)
from tests.e2e.outcomes import BAD_ALG, BAD_REQUEST, SUCCESS, Outcome, send
from tests.e2e.server import ScepServer

pytestmark = pytest.mark.usefixtures("nothing_issued")
MARK = ("O", "negative")


def ask(server: ScepServer, csr: bytes, device: Device | None = None) -> Outcome:
    return send(server.url, message(device or Device.named("asks"), seal(csr, server.ra), attributes_of()))


def with_subject(server: ScepServer, *rdns: bytes) -> str:
    subject = sequence(rdn(("O", utf8("negative"))), *rdns)
    return ask(server, certification_request(rsa_key(), subject, challenge=server.secret)).short


# --- N5: keys -----------------------------------------------------------------------------------------------------


def test_wishes_for_another_key_than_the_signers(server: ScepServer):
    csr = certification_request(rsa_key(1), name(MARK, ("CN", "relay")), challenge=server.secret)
    assert ask(server, csr).short == BAD_REQUEST


def test_wishes_without_possession_of_the_key(server: ScepServer):
    subject = name(MARK, ("CN", "stolen"))
    csr = certification_request(rsa_key(), subject, challenge=server.secret, signer=rsa_key(1))
    assert ask(server, csr).short == BAD_REQUEST


def test_wishes_for_a_certificate_of_the_ca_key(server: ScepServer):
    for der in server.ca_certificates():
        key = spki(x509.load_der_x509_certificate(der).public_key())
        csr = certification_request(rsa_key(), name(MARK), challenge=server.secret, public_key=key)
        assert ask(server, csr).short == BAD_REQUEST


@pytest.mark.parametrize(
    "key",
    [
        lambda: rsa_key(9, 1024),
        lambda: rsa.generate_private_key(3, 2048),
        lambda: ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=["rsa-1024", "exponent-3", "secp256k1"],
)
def test_wishes_for_a_weak_key(server: ScepServer, key):
    device = Device.named("negative-weak", key())
    body = pkcs_req(device, server.ra, server.secret)
    assert send(server.url, body).short in {BAD_REQUEST, BAD_ALG, "FAILURE 1", "HTTP 400"}


# --- N15: extensions ----------------------------------------------------------------------------------------------

REFUSED = {
    "ca-true": extension("2.5.29.19", sequence(boolean(True)), critical=True),
    "key-cert-sign": extension("2.5.29.15", tlv(0x03, b"\x02\x04"), critical=True),
    "crl-sign": extension("2.5.29.15", tlv(0x03, b"\x01\x02"), critical=True),
    "name-constraints": extension("2.5.29.30", sequence(), critical=True),
    "ocsp-signing": extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.9"))),
    "poison": extension("1.3.6.1.4.1.11129.2.4.3", b"\x05\x00", critical=True),
    "unknown-critical": extension("1.2.3.4.5", octets(b"x"), critical=True),
    "wildcard": dns_san("*.example.com"),
    "sid-in-a-uri": extension(SAN, sequence(tlv(0x86, b"tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-500"))),
    "hundred-and-one-names": dns_san(*(f"n{number}.example.com" for number in range(101))),
    "dns-with-nul": dns_san("a.example.com\0.evil.example"),
    "dns-with-newline": dns_san("a.example\n.com"),
    "empty-san-list": extension(SAN, sequence()),
}


@pytest.mark.parametrize("wish", REFUSED)
def test_wishes_refused(server: ScepServer, wish: str):
    csr = certification_request(
        rsa_key(), name(MARK, ("CN", wish)), challenge=server.secret, extensions=[REFUSED[wish]]
    )
    assert ask(server, csr).short == BAD_REQUEST


def test_wishes_for_an_extension_twice(server: ScepServer):
    csr = certification_request(
        rsa_key(), name(MARK), challenge=server.secret, extensions=[dns_san("a.example"), dns_san("b.example")]
    )
    assert ask(server, csr).short == BAD_REQUEST


def test_wishes_in_two_extension_requests(server: ScepServer):
    both = [extension_request(dns_san("a.example")), extension_request(dns_san("b.example"))]
    csr = certification_request(rsa_key(), name(MARK), challenge=server.secret, more_attributes=both)
    assert ask(server, csr).short == BAD_REQUEST


DROPPED = {
    "any-purpose": extension("2.5.29.37", sequence(oid("2.5.29.37.0"))),
    "code-signing": extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.3"))),
    "key-encipherment": extension("2.5.29.15", tlv(0x03, b"\x05\xa0"), critical=True),
    "ca-false": extension("2.5.29.19", sequence()),
    "sid": extension("1.3.6.1.4.1.311.25.2", sequence(context(0, oid("1.2.3"), context(0, octets(b"S-1-5-21"))))),
    "own-ski": extension("2.5.29.14", octets(b"mine")),
    "own-crl": extension("2.5.29.31", sequence(sequence(context(0, context(0, tlv(0x86, b"http://evil.example/")))))),
    "ip-san": extension(SAN, sequence(tlv(0x82, b"a.example"), tlv(0x87, bytes(4)))),
}
OURS = {"2.5.29.15", "2.5.29.37", "2.5.29.14", "2.5.29.35", "2.5.29.31", "1.3.6.1.5.5.7.1.1", "2.5.29.19", SAN}


@pytest.mark.parametrize("wish", DROPPED)
def test_wishes_dropped(server: ScepServer, wish: str):
    device = Device.named(f"dropped-{wish}")
    csr = certification_request(device.key, device.subject, challenge=server.secret, extensions=[DROPPED[wish]])
    outcome = ask(server, csr, device)
    assert (outcome.short, outcome.certrep.text) == (SUCCESS, None)
    issued = outcome.certrep.certificate(device)
    found = {one.oid.dotted_string: one.value for one in issued.extensions}
    assert set(found) <= OURS
    assert not found["2.5.29.15"].key_encipherment
    assert [purpose.dotted_string for purpose in found["2.5.29.37"]] == ["1.3.6.1.5.5.7.3.2"]
    assert b"evil" not in outcome.certrep.certificates(device)[0]
    if SAN in found:
        assert list(found[SAN]) == [x509.DNSName("a.example")]


# --- N16 and N9: names --------------------------------------------------------------------------------------------

NAMES = {
    "nul": [rdn(("CN", utf8("a\0b")))],
    "newline": [rdn(("CN", utf8("a\r\nb")))],
    "right-to-left": [rdn(("CN", utf8("a\u202eb")))],
    "nul-in-bmp": [rdn(("CN", tlv(0x1E, b"\0a\0\0\0b")))],
    "odd-bmp": [rdn(("CN", tlv(0x1E, b"\0a\0")))],
    "overlong-utf8": [rdn(("CN", tlv(0x0C, b"a\xc0\xafb")))],
    "empty-cn": [rdn(("CN", utf8("")))],
    "same-cn-twice": [rdn(("CN", utf8("one"))), rdn(("CN", printable("ONE")))],
    "long-part": [rdn(("CN", utf8("x" * 257)))],
    "sixty-parts": [rdn(("OU", utf8(f"part {number}"))) for number in range(60)],
    "printable-with-an-at": [rdn(("CN", printable("a@b")))],
    "empty-rdn": [set_of()],
}


@pytest.mark.parametrize("case", NAMES)
def test_wishes_for_an_unacceptable_name(server: ScepServer, case: str):
    assert with_subject(server, *NAMES[case]) == BAD_REQUEST


def test_wishes_for_the_name_of_a_ca(server: ScepServer):
    for der in server.ca_certificates():
        csr = certification_request(rsa_key(), subject_of(der), challenge=server.secret)
        assert ask(server, csr).short == BAD_REQUEST


def test_wishes_for_no_name_at_all(server: ScepServer):
    csr = certification_request(rsa_key(), sequence(), challenge=server.secret)
    assert ask(server, csr).short == BAD_REQUEST


def test_wishes_for_no_subject_but_a_granted_name(server: ScepServer):
    csr = certification_request(rsa_key(), sequence(), challenge=server.secret, extensions=[dns_san("only.example")])
    issued = ask(server, csr).certrep.certificate(Device.named("asks"))
    assert issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_wishes_for_ten_thousand_parts_cost_little(server: ScepServer):
    subject = sequence(*(rdn(("OU", utf8("x"))) for _ in range(3000)))
    csr = certification_request(rsa_key(), subject, challenge=server.secret)
    assert ask(server, csr).short in {BAD_REQUEST, "HTTP 400", "HTTP 413"}


# --- the challenge itself (R51, R54, T10) -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    """A server of its own: wrong challenges are counted by source, and the fifth is not yet one too many."""
    with ScepServer(tmp_path_factory.mktemp("challenge") / "data", "p256") as server:
        yield server
        assert server.certificates() == []
        assert server.secret not in server.stderr()


@pytest.mark.parametrize(
    "challenge",
    [None, "", b"\x05\x00", "trailing-nul", b"\x02\x01\x05"],
    ids=["absent", "empty", "null", "trailing-nul", "integer"],
)
def test_wishes_without_the_challenge(counted: ScepServer, challenge):
    given = tlv(0x13, counted.secret.encode() + b"\0") if challenge == "trailing-nul" else challenge
    csr = certification_request(rsa_key(), name(MARK), challenge=given)
    assert ask(counted, csr).short == BAD_REQUEST


@pytest.mark.parametrize("kind", [utf8, ia5, printable, lambda text: tlv(0x14, text.encode())])
def test_wishes_with_the_challenge_in_any_string_type(server: ScepServer, kind):
    device = Device.named("challenge-types")
    csr = certification_request(device.key, device.subject, challenge=kind(server.secret))
    assert ask(server, csr, device).short == SUCCESS


def test_wishes_with_two_challenges(server: ScepServer):
    more = sequence(oid(CHALLENGE_PASSWORD), set_of(printable("another-one")))
    csr = certification_request(rsa_key(), name(MARK), challenge=server.secret, more_attributes=[more])
    assert ask(server, csr).short == BAD_REQUEST
