"""Whose transaction is it? Retransmission, polling and queries on the wire (N19, R36, R41, R66 to R75)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from asn1crypto import cms
from cryptography import x509

from tests.e2e import wire
from tests.e2e.crafted import attributes_of, message, pkcs_req, seal
from tests.e2e.der import integer, sequence
from tests.e2e.identities import Device, issuer_and_serial, name, rsa_key, subject_of
from tests.e2e.outcomes import BAD_CERT_ID, BAD_REQUEST, PENDING, SUCCESS, Outcome, send
from tests.e2e.replies import decrypt
from tests.e2e.server import ScepServer

Site = tuple[str, str]


def serial(outcome: Outcome, device: Device) -> int:
    assert outcome.short == SUCCESS
    return outcome.certrep.certificate(device).serial_number


def rows(server: ScepServer, transaction_id: str) -> list[dict[str, object]]:
    return [row for row in server.certificates() if row["transaction_id"] == transaction_id]


def poll(server: ScepServer, device: Device, transaction_id: str, *, subject: bytes | None = None) -> bytes:
    """A CertPoll; subject: somebody else's name, which must not matter (R70, T12)."""
    content = sequence(subject_of(server.ca_certificates()[1]), subject or device.subject)
    return message(device, seal(content, server.ra), attributes_of("20", transaction_id))


# --- retransmission -----------------------------------------------------------------------------------------------


def test_transaction_repeated_gets_the_same_certificate(server: ScepServer):
    device, tid = Device.named("repeat"), "repeat-1"
    body = pkcs_req(device, server.ra, server.secret, transaction_id=tid)
    first, second = send(server.url, body), send(server.url, body)
    again = send(server.url, pkcs_req(device, server.ra, server.secret, transaction_id=tid))
    assert serial(first, device) == serial(second, device) == serial(again, device)
    assert first.certrep.sender_nonce != second.certrep.sender_nonce
    assert len(rows(server, tid)) == 1


def test_transaction_repeated_at_once_gets_one_certificate(server: ScepServer):
    device, tid = Device.named("race"), "race-1"
    body = pkcs_req(device, server.ra, server.secret, transaction_id=tid)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: wire.post(server.url, body), range(16)))
    good = [answer for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} <= {200, 503}
    assert good
    assert serial(send(server.url, body), device)
    assert len(rows(server, tid)) == 1


def test_transaction_of_another_key_is_refused(server: ScepServer):
    mine, other, tid = Device.named("tid-mine"), Device.named("tid-other", rsa_key(1)), "contested-1"
    body = pkcs_req(mine, server.ra, server.secret, transaction_id=tid)
    first = serial(send(server.url, body), mine)
    assert send(server.url, pkcs_req(other, server.ra, server.secret, transaction_id=tid)).short == BAD_REQUEST
    assert serial(send(server.url, body), mine) == first
    assert len(rows(server, tid)) == 1


def test_transaction_id_of_another_integration_is_free(server: ScepServer):
    url, secret = server.add_integration("second")
    mine, other, tid = Device.named("int-mine"), Device.named("int-other", rsa_key(1)), "across-1"
    first = serial(send(server.url, pkcs_req(mine, server.ra, server.secret, transaction_id=tid)), mine)
    assert serial(send(url, pkcs_req(other, server.ra, secret, transaction_id=tid)), other) != first


def test_transaction_with_another_integrations_challenge(server: ScepServer):
    url, _ = server.add_integration("third")
    device = Device.named("foreign-challenge")
    assert send(url, pkcs_req(device, server.ra, server.secret)).short == BAD_REQUEST
    assert not [row for row in server.certificates() if "foreign-challenge" in row["subject"]]


def test_transaction_ids_come_back_byte_for_byte(server: ScepServer):
    for tid in ("a", "A" * 64, "with space", "${jndi:ldap://x}", "%s%n", "x:y/z+'()=?", "../../etc/passwd"):
        device = Device.named("tid-text")
        reply = send(server.url, pkcs_req(device, server.ra, server.secret, transaction_id=tid)).certrep
        assert reply.transaction_id == tid


# --- polling ------------------------------------------------------------------------------------------------------


def test_transaction_pending_until_approved(server: ScepServer, manual: Site):
    url, secret = manual
    device, tid = Device.named("pending"), "pending-1"
    body = pkcs_req(device, server.ra, secret, transaction_id=tid)
    assert [send(url, body).short for _ in range(2)] == [PENDING, PENDING]
    assert send(url, poll(server, device, tid)).short == PENDING
    assert send(url, poll(server, Device.named("pending", rsa_key(1)), tid)).short.startswith("FAILURE")
    assert send(server.url, poll(server, device, tid)).short.startswith("FAILURE")
    waiting = [row for row in server.requests() if row["transaction_id"] == tid]
    assert len(waiting) == 1
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: server.run("request", "approve", str(waiting[0]["id"]), check=False), range(2)))
    first = serial(send(url, poll(server, device, tid)), device)
    assert serial(send(url, poll(server, device, tid, subject=name(("CN", "wrong")))), device) == first
    assert serial(send(url, body), device) == first
    assert [row["state"] for row in rows(server, tid)] == ["issued"]


def test_transaction_rejected(server: ScepServer, manual: Site):
    url, secret = manual
    device, tid = Device.named("rejected"), "rejected-1"
    assert send(url, pkcs_req(device, server.ra, secret, transaction_id=tid)).short == PENDING
    waiting = next(row for row in server.requests() if row["transaction_id"] == tid)
    server.run("request", "reject", str(waiting["id"]))
    assert send(url, poll(server, device, tid)).short == BAD_REQUEST
    assert not [row for row in rows(server, tid) if row["state"] in ("issued", "signed")]


def test_transaction_nobody_knows(server: ScepServer):
    device = Device.named("unknown-poll")
    unknown = send(server.url, poll(server, device, "never-heard-of"))
    assert unknown.short == BAD_CERT_ID
    other, tid = Device.named("known-poll", rsa_key(1)), "known-1"
    assert send(server.url, pkcs_req(other, server.ra, server.secret, transaction_id=tid)).short == SUCCESS
    foreign = send(server.url, poll(server, device, tid))
    assert (foreign.short, foreign.certrep.text) == (unknown.short, unknown.certrep.text)


# --- GetCert and GetCRL -------------------------------------------------------------------------------------------


def query(server: ScepServer, device: Device, kind: str, issuer: bytes, number: int) -> Outcome:
    body = message(device, seal(sequence(issuer, integer(number)), server.ra), attributes_of(kind))
    return send(server.url, body)


def test_query_for_a_certificate(server: ScepServer):
    device = Device.named("get-cert")
    enrolled = send(server.url, pkcs_req(device, server.ra, server.secret))
    der = enrolled.certrep.certificates(device)[0]
    issuer, _ = issuer_and_serial(der)
    number = x509.load_der_x509_certificate(der).serial_number
    outcome = query(server, device, "21", issuer, number)
    assert outcome.certrep.certificates(device)[0] == der


def test_query_for_what_is_not_there(server: ScepServer):
    device = Device.named("get-cert-none")
    issuing = server.ca_certificates()[1]
    ours = subject_of(issuing)
    foreign = name(("CN", "Another CA"))
    for issuer, number in ((ours, 1), (ours, 0), (ours, -5), (ours, 2**2000), (foreign, 1)):
        assert query(server, device, "21", issuer, number).short == BAD_CERT_ID


def test_query_for_another_integrations_certificate(server: ScepServer, renewing: Site):
    """N19: GetCert is no way to list what other integrations issued."""
    device = Device.named("get-cert-foreign")
    der = send(renewing[0], pkcs_req(device, server.ra, renewing[1])).certrep.certificates(device)[0]
    issuer, _ = issuer_and_serial(der)
    number = x509.load_der_x509_certificate(der).serial_number
    assert query(server, device, "21", issuer, number).short == BAD_CERT_ID


def test_query_for_the_crl(server: ScepServer):
    device = Device.named("get-crl")
    enrolled = send(server.url, pkcs_req(device, server.ra, server.secret)).certrep.certificates(device)[0]
    issuer, _ = issuer_and_serial(enrolled)
    number = x509.load_der_x509_certificate(enrolled).serial_number
    reply = query(server, device, "22", issuer, number).certrep
    content = cms.ContentInfo.load(decrypt(reply, device))["content"]
    assert not content["certificates"]
    crl = x509.load_der_x509_crl(content["crls"][0].dump())
    issuing = x509.load_der_x509_certificate(server.ca_certificates()[1])
    assert crl.is_signature_valid(issuing.public_key())  # type: ignore[arg-type]
