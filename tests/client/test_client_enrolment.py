"""The client against an honest server, and against one that lies in one way at a time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from scep_server.client import (
    Algorithms,
    Check,
    Client,
    Issued,
    NotVerified,
    Pending,
    Refused,
    Request,
    Transport,
    Unavailable,
    Verdict,
)
from scep_server.client.authority import sha1, sha256
from scep_server.client.identity import PrivateKey, Signer, build_csr, self_signed, transaction_id
from scep_server.errors import ConfigurationError
from scep_server.types import Cipher, Digest, FailInfo, KeyTransport, MessageType
from tests.client.scep_peer import CHALLENGE, Hierarchy, Peer, name, other_nonce, other_transaction, spki

Outcome = Issued | Pending | Refused


@dataclass
class Enrolled:
    outcome: Outcome
    checks: list[Check]


def request_of(key: PrivateKey, challenge: str = CHALLENGE, signer: Signer | None = None) -> Request:
    subject = name("device")
    kind = MessageType.PKCS_REQ if signer is None else MessageType.RENEWAL_REQ
    csr = build_csr(key, subject, (), challenge)
    return Request(kind, transaction_id(key), signer or self_signed(key, subject), csr, challenge)


async def send(
    url: str, request: Request, fingerprint: str | None = None, algorithms: Algorithms | None = None
) -> Enrolled:
    checks: list[Check] = []
    async with Transport(url) as transport:
        client = await Client.connect(transport, fingerprint, checks.append)
        return Enrolled(await client.request(request, algorithms or Algorithms()), checks)


@pytest.fixture
def device_key(rsa_keys: tuple[rsa.RSAPrivateKey, ...]) -> rsa.RSAPrivateKey:
    return rsa_keys[1]


@pytest.mark.parametrize(
    "algorithms",
    [
        Algorithms(),
        Algorithms(Digest.SHA512, Cipher.AES256_CBC, KeyTransport.OAEP_SHA256),
        Algorithms(Digest.SHA256, Cipher.AES192_CBC, KeyTransport.OAEP_SHA1),
    ],
)
async def test_a_certificate_for_our_key(
    url: str, peer: Peer, device_key: rsa.RSAPrivateKey, algorithms: Algorithms
) -> None:
    enrolled = await send(url, request_of(device_key), algorithms=algorithms)
    assert isinstance(enrolled.outcome, Issued)
    assert enrolled.outcome.certificate.public_key() == device_key.public_key()
    assert enrolled.outcome.chain == (peer.hierarchy.root,)
    assert peer.seen[0][0] == "POST"


async def test_an_ec_key_gets_its_answer_under_the_challenge(url: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    enrolled = await send(url, request_of(key))
    assert isinstance(enrolled.outcome, Issued)
    assert spki(enrolled.outcome.certificate.public_key()) == spki(key.public_key())  # type: ignore[arg-type]


async def test_an_ec_key_without_a_challenge_is_not_even_sent(url: str, peer: Peer) -> None:
    with pytest.raises(ConfigurationError, match="give the challenge"):
        await send(url, request_of(ec.generate_private_key(ec.SECP256R1()), ""))
    assert peer.seen == []


async def test_get_is_used_where_post_is_not_offered(url: str, peer: Peer, device_key: rsa.RSAPrivateKey) -> None:
    peer.caps = "AES\nSHA-256\n"
    assert isinstance((await send(url, request_of(device_key))).outcome, Issued)
    assert peer.seen[0][0] == "GET"


async def test_a_renewal_is_signed_by_the_old_certificate(
    url: str, peer: Peer, rsa_keys: tuple[rsa.RSAPrivateKey, ...]
) -> None:
    first = (await send(url, request_of(rsa_keys[1]))).outcome
    assert isinstance(first, Issued)
    renewed = await send(url, request_of(rsa_keys[2], "", Signer(first.certificate, rsa_keys[1])))
    assert isinstance(renewed.outcome, Issued)
    assert peer.seen[1][1] is MessageType.RENEWAL_REQ


@pytest.mark.parametrize(("caps", "says"), [("AES\nSHA-256\n", "renewal"), ("SHA-256", "AES"), ("AES", "SHA-256")])
async def test_what_is_not_offered_is_not_tried(
    url: str, peer: Peer, device_key: rsa.RSAPrivateKey, caps: str, says: str
) -> None:
    peer.caps = caps
    signer = self_signed(device_key, name("device"))
    with pytest.raises(ConfigurationError, match=says):
        await send(url, request_of(device_key, signer=signer))
    assert peer.seen == []


async def test_pending_then_poll_gives_the_certificate(url: str, peer: Peer, device_key: rsa.RSAPrivateKey) -> None:
    peer.pending = 1
    request = request_of(device_key)
    assert isinstance((await send(url, request)).outcome, Pending)
    poll = Request(MessageType.CERT_POLL, request.transaction_id, request.signer, request.csr, request.challenge)
    assert isinstance((await send(url, poll)).outcome, Issued)
    assert [kind for _, kind, _ in peer.seen] == [MessageType.PKCS_REQ, MessageType.CERT_POLL]
    assert peer.seen[0][2] == peer.seen[1][2]


async def test_a_refusal_is_told_with_its_reason(url: str, device_key: rsa.RSAPrivateKey) -> None:
    outcome = (await send(url, request_of(device_key, "wrong"))).outcome
    assert isinstance(outcome, Refused)
    assert outcome.fail_info is FailInfo.BAD_REQUEST
    assert "Challenge was not accepted" in str(outcome)


async def test_a_busy_server_is_unavailable_for_as_long_as_it_says(
    url: str, peer: Peer, device_key: rsa.RSAPrivateKey
) -> None:
    peer.statuses = [503]
    with pytest.raises(Unavailable) as caught:
        await send(url, request_of(device_key))
    assert caught.value.retry_after == 7


async def test_nobody_there_is_unavailable(device_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(Unavailable) as caught:
        await send("http://127.0.0.1:1/scep", request_of(device_key))
    assert str(caught.value) == "http://127.0.0.1:1/scep cannot be reached: Connection refused (127.0.0.1 port 1)"
    with pytest.raises(Unavailable, match=r"the name no-such-host\.invalid does not resolve$"):
        await send("http://no-such-host.invalid/scep", request_of(device_key))


# --- what is verified, one lie at a time ------------------------------------------------------------------------------


async def test_a_right_fingerprint_is_reported_as_checked(url: str, peer: Peer, device_key: rsa.RSAPrivateKey) -> None:
    for fingerprint in (sha256(peer.hierarchy.root), sha1(peer.hierarchy.root).upper()):
        checks = (await send(url, request_of(device_key), fingerprint)).checks
        assert next(one for one in checks if one.name == "CA fingerprint").verdict is Verdict.VERIFIED


async def test_no_fingerprint_is_reported_as_not_checked(url: str, device_key: rsa.RSAPrivateKey) -> None:
    checks = (await send(url, request_of(device_key))).checks
    assert {one.name for one in checks if one.verdict is Verdict.NOT_CHECKED} == {"CA fingerprint", "TLS"}


async def test_a_wrong_fingerprint_ends_before_anything_is_sent(
    url: str, peer: Peer, device_key: rsa.RSAPrivateKey
) -> None:
    with pytest.raises(NotVerified, match="no certificate of the server has fingerprint"):
        await send(url, request_of(device_key), "00" * 32)
    assert peer.seen == []


async def test_the_fingerprint_of_the_ra_is_no_anchor(url: str, peer: Peer, device_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(NotVerified, match="RA certificate"):
        await send(url, request_of(device_key), sha256(peer.hierarchy.ra))


async def test_an_expired_ra_certificate_is_refused(
    url: str, peer: Peer, rsa_keys: tuple[rsa.RSAPrivateKey, ...]
) -> None:
    peer.hierarchy = Hierarchy.make(rsa_keys[0], ra_days=-1)
    with pytest.raises(NotVerified, match="not valid at"):
        await send(url, request_of(rsa_keys[1]))


@pytest.mark.parametrize("lie", [other_transaction, other_nonce])
async def test_an_answer_to_another_request_is_refused(
    url: str, peer: Peer, device_key: rsa.RSAPrivateKey, lie: object
) -> None:
    peer.reply_to = lie  # type: ignore[assignment]
    with pytest.raises(NotVerified, match="answers another request"):
        await send(url, request_of(device_key))


async def test_a_reply_signed_by_a_stranger_is_refused(
    url: str, peer: Peer, rsa_keys: tuple[rsa.RSAPrivateKey, ...]
) -> None:
    peer.signs_with = Hierarchy.make(rsa_keys[2])
    with pytest.raises(NotVerified, match="signed by another certificate"):
        await send(url, request_of(rsa_keys[1]))


async def test_a_certificate_of_another_ca_is_refused(
    url: str, peer: Peer, rsa_keys: tuple[rsa.RSAPrivateKey, ...]
) -> None:
    peer.issues_from = Hierarchy.make(rsa_keys[0])
    with pytest.raises(NotVerified, match="does not chain"):
        await send(url, request_of(rsa_keys[1]))


async def test_a_certificate_for_another_key_is_refused(
    url: str, peer: Peer, rsa_keys: tuple[rsa.RSAPrivateKey, ...]
) -> None:
    peer.public_key = rsa_keys[2].public_key()
    with pytest.raises(NotVerified, match="0 certificates for our key"):
        await send(url, request_of(rsa_keys[1]))


async def test_another_subject_is_told(url: str, peer: Peer, device_key: rsa.RSAPrivateKey) -> None:
    peer.subject = name("somebody else")
    enrolled = await send(url, request_of(device_key))
    assert isinstance(enrolled.outcome, Issued)
    (check,) = (one for one in enrolled.checks if one.name == "subject")
    assert check.verdict is Verdict.DIFFERS
    assert isinstance(enrolled.outcome.certificate, x509.Certificate)
