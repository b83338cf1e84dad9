"""Renewals that are none (N4, R57 to R62), and one that is. No challenge is spent: the old certificate is the proof."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.e2e.crafted import attributes_of, message, pkcs_req, seal
from tests.e2e.identities import (
    Device,
    certificate,
    certification_request,
    dns_san,
    issuer_and_serial,
    name,
    rsa_key,
    subject_of,
)
from tests.e2e.outcomes import BAD_REQUEST, SUCCESS, Outcome, send
from tests.e2e.server import ScepServer

Site = tuple[str, str]
REFUSED = {BAD_REQUEST, "FAILURE 1"}


def enrol(server: ScepServer, site: Site, common_name: str, number: int = 0) -> Device:
    """A device that has a certificate of this integration and signs with it from now on."""
    url, secret = site
    device = Device.named(common_name, rsa_key(number))
    outcome = send(url, pkcs_req(device, server.ra, secret))
    assert outcome.short == SUCCESS
    return Device(device.key, device.subject, outcome.certrep.certificates(device)[0])


def renew(
    server: ScepServer,
    site: Site,
    old: Device,
    *,
    subject: bytes | None = None,
    challenge: str | None = None,
    new_key: int = 1,
    message_type: str = "17",
    **csr_options: object,
) -> Outcome:
    """A RenewalReq signed with the old certificate."""
    csr = certification_request(
        rsa_key(new_key), old.subject if subject is None else subject, challenge=challenge, **csr_options
    )  # type: ignore[arg-type]
    return send(site[0], message(old, seal(csr, server.ra), attributes_of(message_type)))


def serial_of(device: Device) -> int:
    return x509.load_der_x509_certificate(device.certificate).serial_number


def test_renewal_by_the_old_certificate(server: ScepServer, renewing: Site):
    old = enrol(server, renewing, "renewal-good")
    outcome = renew(server, renewing, old)
    assert outcome.short == SUCCESS
    fresh = x509.load_der_x509_certificate(outcome.certrep.certificates(old)[0])
    assert fresh.public_key() == rsa_key(1).public_key()
    assert fresh.serial_number != serial_of(old)
    assert fresh.subject == x509.load_der_x509_certificate(old.certificate).subject


def test_renewal_with_the_right_challenge_is_as_good(server: ScepServer, renewing: Site):
    old = enrol(server, renewing, "renewal-challenge")
    assert renew(server, renewing, old, challenge=renewing[1]).short == SUCCESS


def test_renewal_with_a_wrong_challenge(server: ScepServer, renewing: Site):
    old = enrol(server, renewing, "renewal-wrong-challenge")
    assert renew(server, renewing, old, challenge="not-the-secret-at-all").short == BAD_REQUEST


def test_renewal_by_a_self_signed_certificate(server: ScepServer, renewing: Site):
    assert renew(server, renewing, Device.named("renewal-self")).short in REFUSED


def test_renewal_by_a_certificate_of_an_impostor(server: ScepServer, renewing: Site):
    """Another CA of our CA's very name, with the serial of a real certificate."""
    real = enrol(server, renewing, "renewal-impostor")
    issuer, _ = issuer_and_serial(real.certificate)
    forged = certificate(
        rsa_key(2), real.subject, issuer=issuer, signer=rsa_key(3), serial=serial_of(real), days=(-1, 30)
    )
    assert renew(server, renewing, Device(rsa_key(2), real.subject, forged)).short in REFUSED


def test_renewal_by_a_self_made_copy(server: ScepServer, renewing: Site):
    """Self-signed, with subject and serial copied from a real one."""
    real = enrol(server, renewing, "renewal-copy")
    forged = certificate(rsa_key(2), real.subject, serial=serial_of(real))
    assert renew(server, renewing, Device(rsa_key(2), real.subject, forged)).short in REFUSED


def test_renewal_by_the_stolen_certificate_without_its_key(server: ScepServer, renewing: Site):
    real = enrol(server, renewing, "renewal-stolen")
    assert renew(server, renewing, Device(rsa_key(2), real.subject, real.certificate)).short == "FAILURE 1"


def test_renewal_of_a_revoked_certificate(server: ScepServer, renewing: Site):
    old = enrol(server, renewing, "renewal-revoked")
    server.run("cert", "revoke", f"{serial_of(old):x}", "--reason", "superseded")
    assert renew(server, renewing, old).short == BAD_REQUEST


def test_renewal_of_another_integrations_certificate(server: ScepServer, renewing: Site):
    elsewhere = server.add_integration("elsewhere", renewal="on", lifetime_days="30")
    old = enrol(server, elsewhere, "renewal-elsewhere")
    assert renew(server, renewing, old).short == BAD_REQUEST


def test_renewal_too_early(server: ScepServer):
    early = server.add_integration("early", renewal="on", lifetime_days="365", renewal_window_days="90")
    old = enrol(server, early, "renewal-early")
    assert renew(server, early, old).short == BAD_REQUEST


@pytest.mark.parametrize("place", [0, 1, 2], ids=["ra", "issuing-ca", "root"])
def test_renewal_by_our_own_certificates(server: ScepServer, renewing: Site, place: int):
    """Without their keys; the signature check alone must do, but their names must not help either."""
    der = server.ca_certificates()[place]
    impostor = Device(rsa_key(2), subject_of(der), certificate(rsa_key(2), subject_of(der)))
    assert renew(server, renewing, impostor).short in REFUSED


def test_renewal_signed_by_the_real_ra_key(server: ScepServer, renewing: Site):
    """Even the holder of the RA key cannot renew with it."""
    ra = server.ra
    key = serialization.load_pem_private_key(
        (server.data / "ca" / "ra.key.pem").read_bytes(),
        (server.data / "secrets" / "ca-passphrase").read_bytes().strip(),
    )
    subject = name(("CN", "renewal-ra"))
    assert renew(server, renewing, Device(key, subject_of(ra), ra), subject=subject).short in REFUSED


def test_renewal_for_a_wider_identity(server: ScepServer, renewing: Site):
    old = enrol(server, renewing, "renewal-wider")
    wishes = [dns_san("admin.example.com")]
    assert renew(server, renewing, old, extensions=wishes).short == BAD_REQUEST
    assert renew(server, renewing, old, subject=name(("O", "Example"), ("CN", "somebody-else"))).short == BAD_REQUEST


def test_renewal_without_possession_of_the_new_key(server: ScepServer, renewing: Site):
    old = enrol(server, renewing, "renewal-possession")
    assert renew(server, renewing, old, signer=rsa_key(3)).short == BAD_REQUEST


def test_renewal_as_a_pkcs_req_still_needs_the_challenge(server: ScepServer, renewing: Site):
    """R61: off unless the integration says otherwise."""
    old = enrol(server, renewing, "renewal-pkcsreq")
    assert renew(server, renewing, old, message_type="19", new_key=0).short == BAD_REQUEST


def test_renewal_of_an_unrecorded_certificate_of_ours(server: ScepServer, renewing: Site):
    """Signed by the real issuing key, but nobody's certificate: the ledger decides, not the chain."""
    issuing = server.ca_certificates()[1]
    key = serialization.load_pem_private_key(
        (server.data / "ca" / "issuing.key.pem").read_bytes(),
        (server.data / "secrets" / "ca-passphrase").read_bytes().strip(),
    )
    subject = name(("O", "Example"), ("CN", "renewal-unrecorded"))
    forged = certificate(rsa_key(2), subject, issuer=subject_of(issuing), signer=key, serial=2**100, days=(-1, 30))
    assert renew(server, renewing, Device(rsa_key(2), subject, forged)).short in REFUSED


def test_renewal_left_no_certificate_behind(server: ScepServer, renewing: Site):
    """Every name of this file that was refused has the one certificate it enrolled with, and no more."""
    since = datetime.now(UTC) - timedelta(hours=1)
    rows = [row for row in server.certificates() if "CN=renewal-" in row["subject"]]
    assert all(datetime.fromisoformat(row["issued_at"]) > since for row in rows if row["issued_at"])
    counted: dict[str, int] = {}
    for row in rows:
        counted[row["subject"].split(",")[0]] = counted.get(row["subject"].split(",")[0], 0) + 1
    twice = {subject for subject, count in counted.items() if count > 1}
    assert twice <= {"CN=renewal-good", "CN=renewal-challenge"}
    for forbidden in ("renewal-self", "renewal-unrecorded", "renewal-ra"):
        assert f"CN={forbidden}" not in counted
