"""A serving scep-server with an Intune connection, and Microsoft's side simulated in another process over HTTPS."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.der import octets
from tests.e2e.identities import Device, certification_request, dns_san, extension, rsa_key
from tests.e2e.outcomes import BAD_REQUEST, PENDING, SUCCESS, outcome_of, send
from tests.e2e.polling import until
from tests.e2e.server import ScepServer
from tests.simulators.intune import VALIDATION_CODES, RemoteSimulator, mismatches

TENANT = "contoso.onmicrosoft.com"
SECRET = "e2e~client.secret-value"
SID_EXTENSION = "1.3.6.1.4.1.311.25.2"
OTHER_NAME_SID = "1.3.6.1.4.1.311.25.2.1"


@dataclass
class Site:
    """One server, one integration `corp`, one tenant."""

    server: ScepServer
    intune: RemoteSimulator
    url: str
    client_id: str
    secret_file: Path
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def device(self, prefix: str = "device") -> Device:
        """One nobody has seen before."""
        return Device.named(f"{prefix}-{next(self.numbers)}", rsa_key())

    def csr(self, device: Device, **how: Any) -> bytes:
        text = self.intune.do("new_challenge", tenant=TENANT)["text"]
        return certification_request(device.key, device.subject, challenge=text, **how)

    def message(self, device: Device, csr: bytes | None = None, transaction_id: str | None = None) -> bytes:
        csr = csr if csr is not None else self.csr(device)
        return pkcs_req(device, self.server.ra, None, csr=csr, transaction_id=transaction_id)

    def fail(self, operation: str, times: int | None = 1, **fault: Any) -> int:
        return int(self.intune.do("fail", operation=operation, fault=fault, times=times, tenant=TENANT)["number"])

    def calls(self, operation: str, since: int = 0) -> list[dict[str, Any]]:
        return [call for call in self.intune.calls(operation) if call["number"] > since]

    def last(self) -> int:
        """Number of the last call so far."""
        return max((call["number"] for call in self.intune.calls()), default=0)

    def certificates(self, *devices: Device) -> list[dict[str, Any]]:
        """Rows of these devices."""
        subjects = {_subject(device) for device in devices}
        return [row for row in self.server.certificates() if row["subject"] in subjects]

    def sync(self, *, check: bool = True) -> tuple[int, dict[str, Any]]:
        done = self.server.run("integration", "sync", "corp", "--json", check=check)
        return done.returncode, json.loads(done.stdout) if done.stdout else {}


def _subject(device: Device) -> str:
    return x509.load_der_x509_certificate(device.certificate).subject.rfc4514_string()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("intune")
    secret = folder / "client-secret"
    secret.write_text(SECRET + "\n")
    with RemoteSimulator(folder / "simulator") as intune:
        intune.do("add_tenant", domains=[TENANT])
        client_id = intune.do("add_app", tenant=TENANT, secret=SECRET)["client_id"]
        environment = {"SCEP_SERVER_OUTBOUND__CA_FILE": str(intune.ca)}
        with ScepServer(folder / "data", "p256", environment=environment) as server:
            made = Site(server, intune, added(server, intune, client_id, secret), client_id, secret)
            yield made
        assert intune.violations == []
        assert SECRET not in server.stderr()


def added(
    server: ScepServer, intune: RemoteSimulator, client_id: str, secret: Path, name: str = "corp", *more: str
) -> str:
    """`integration add`; the SCEP URL once it is served."""
    settings = {
        "tenant": TENANT,
        "client_id": client_id,
        "authority": intune.authority,
        "graph_url": intune.graph,
        "timeout_seconds": "2",
        "revocation_poll_seconds": "86400",  # these tests pull themselves
    }
    pairs = [text for key, value in settings.items() for text in ("--setting", f"{key}={value}")]
    command = (
        "integration",
        "add",
        name,
        "--challenge",
        "intune",
        *pairs,
        "--secret-file",
        str(secret),
        *more,
        "--json",
    )
    shown = json.loads(server.run(*command).stdout)
    assert SECRET not in json.dumps(shown)
    server.await_integration(shown["scep_url"])
    return str(shown["scep_url"])


def test_an_enrolment_is_validated_told_and_released_in_this_order(site: Site) -> None:
    device, since = site.device(), site.last()
    csr = site.csr(device)
    outcome = send(site.url, site.message(device, csr))
    assert outcome.short == SUCCESS
    certificate = outcome.certrep.certificate(device)
    ours = {"validateRequest", "successNotification", "failureNotification"}
    posts = [call for call in site.intune.calls() if call["number"] > since and call["operation"] in ours]
    validate, success = posts
    assert [call["operation"] for call in posts] == ["validateRequest", "successNotification"]
    for inner in (validate["json"]["request"], success["json"]["notification"]):
        assert base64.b64decode(inner["certificateRequest"]) == csr
        assert inner["transactionId"] == outcome.certrep.transaction_id
    assert mismatches(success["json"], certificate) == []
    (row,) = site.certificates(device)
    assert row["state"] == "issued"


def test_all_codes_but_success_refuse_for_good(site: Site) -> None:
    since = site.last()
    for code in (*VALIDATION_CODES[1:], "CodeOfTomorrow"):
        device = site.device("refused")
        site.fail("validateRequest", kind="code", code=code)
        assert send(site.url, site.message(device)).short == BAD_REQUEST, code
    assert [row for row in site.server.certificates() if "refused" in row["subject"]] == []
    assert len(site.calls("validateRequest", since)) == 25
    assert site.calls("successNotification", since) == []
    assert site.calls("failureNotification", since) == []


UNCERTAIN: dict[str, tuple[int, dict[str, Any]]] = {
    "500": (1, {"kind": "status", "status": 500}),
    "503": (1, {"kind": "status", "status": 503}),
    "401 twice": (2, {"kind": "status", "status": 401}),
    "403": (1, {"kind": "status", "status": 403}),
    "429": (1, {"kind": "status", "status": 429, "retry_after": "7"}),
    "slow": (1, {"kind": "delay", "seconds": 4}),
    "cut": (1, {"kind": "cut"}),
    "cut after the work": (1, {"kind": "cut", "effect": True}),
    "cut mid body": (1, {"kind": "cut-mid-body", "effect": True}),
    "garbage": (1, {"kind": "garbage"}),
}


@pytest.mark.parametrize("operation", ["validateRequest", "successNotification"])
def test_what_is_uncertain_is_503_and_the_same_request_later_gets_one_certificate(site: Site, operation: str) -> None:
    devices, serials = [], []
    for name, (times, fault) in UNCERTAIN.items():
        device = site.device()
        message, since = site.message(device), site.last()
        site.fail(operation, times, **fault)
        answer = wire.post(site.url, message)
        assert answer.status == 503, name
        wait = int(answer.headers["retry-after"])
        assert wait == 7 if name == "429" else wait > 0, name
        outcome = send(site.url, message)
        assert outcome.short == SUCCESS, name
        certificate = outcome.certrep.certificate(device)
        told = site.calls("successNotification", since)
        assert all(mismatches(call["json"], certificate) == [] for call in told), name
        if operation == "successNotification":
            # The repeat resumes: Intune is not asked again whether it may.
            assert len(site.calls("validateRequest", since)) == 1, name
        devices.append(device)
        serials.append(certificate.serial_number)
    assert sorted(int(row["serial"], 16) for row in site.certificates(*devices)) == sorted(serials)


def test_a_certificate_waits_for_the_notification_and_survives_a_crash(site: Site) -> None:
    device = site.device()
    message = site.message(device)
    planned = site.fail("successNotification", None, kind="status", status=500)
    assert wire.post(site.url, message).status == 503
    (waiting,) = site.certificates(device)
    assert waiting["state"] == "signed"
    site.server.kill()
    site.server.start()
    assert wire.post(site.url, message).status == 503
    site.intune.do("lift", number=planned)
    outcome = send(site.url, message)
    assert outcome.certrep.certificate(device).serial_number == int(waiting["serial"], 16)
    assert [row["state"] for row in site.certificates(device)] == ["issued"]


@pytest.mark.parametrize("operation", ["validateRequest", "successNotification"])
def test_a_crash_after_intunes_yes_and_before_its_record_leaves_one_certificate(site: Site, operation: str) -> None:
    device = site.device()
    message, asked = site.message(device), len(site.calls(operation))
    site.fail(operation, kind="hold", effect=True)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(wire.post, site.url, message)
        site.intune.do("wait_for", operation=operation, count=asked + 1)
        site.server.kill()
        assert answer.exception() is not None
    site.server.start()
    certificate = send(site.url, message).certrep.certificate(device)
    (row,) = site.certificates(device)
    assert (int(row["serial"], 16), row["state"]) == (certificate.serial_number, "issued")
    assert mismatches(site.calls("successNotification")[-1]["json"], certificate) == []


def test_a_waiting_certificate_is_one_keys_and_one_transactions(site: Site) -> None:
    device, other = site.device(), Device.named("other-key", rsa_key(1))
    csr, planned = site.csr(device), site.fail("successNotification", None, kind="status", status=500)
    first, second = (site.message(device, csr, f"waiting-{number}") for number in range(2))
    assert wire.post(site.url, first).status == 503
    since = site.last()
    # Another device under the same transaction id: refused, and Intune is not asked.
    assert send(site.url, site.message(other, None, "waiting-0")).short == BAD_REQUEST
    assert site.calls("validateRequest", since) == []
    # The same request under another one: asked and told anew, and it does not get the certificate that waits.
    assert wire.post(site.url, second).status == 503
    assert len(site.calls("validateRequest", since)) == 1
    site.intune.do("lift", number=planned)
    certificates = [send(site.url, message).certrep.certificate(device) for message in (first, second)]
    assert len({one.serial_number for one in certificates}) == 2
    told = site.calls("successNotification")[-2:]
    assert [mismatches(call["json"], one) for call, one in zip(told, certificates, strict=True)] == [[], []]
    assert site.certificates(other) == []


def test_a_certificate_that_intune_does_not_take_is_revoked_and_never_leaves(site: Site) -> None:
    device, since = site.device(), site.last()
    message = site.message(device)
    site.fail("successNotification", kind="code", code="Unknown")
    assert send(site.url, message).short == BAD_REQUEST
    (row,) = site.certificates(device)
    assert row["state"] == "revoked"
    shown = site.server.run("cert", "show", row["serial"]).stdout
    withdrawn = x509.load_pem_x509_certificate(shown[shown.index("-----BEGIN") :].encode())
    until(lambda: on_crl(withdrawn))
    assert site.calls("failureNotification", since) == []
    assert send(site.url, message).short == BAD_REQUEST


def test_a_failure_of_ours_after_the_yes_is_told_with_its_code(site: Site) -> None:
    url = added(site.server, site.intune, site.client_id, site.secret_file, "by-hand", "--option", "approval=manual")
    device, since = site.device(), site.last()
    assert send(url, site.message(device)).short == PENDING
    (waiting,) = site.server.requests()
    site.server.run("request", "reject", str(waiting["id"]), "--note", "not this one")
    (call,) = site.calls("failureNotification", since)
    told = call["json"]["notification"]
    assert told["hResult"] == 0x80094014
    assert told["errorDescription"] == "rejected: Request was rejected"
    assert site.calls("successNotification", since) == []


def test_an_sid_in_the_request_never_reaches_the_certificate(site: Site) -> None:
    sid = b"S-1-5-21-1004336348-1177238915-682003330-512"
    oid = x509.ObjectIdentifier(OTHER_NAME_SID)
    other_name = x509.OtherName(oid, octets(sid))
    value = x509.SubjectAlternativeName([other_name]).public_bytes()
    device = site.device()
    csr = site.csr(device, extensions=[extension(SID_EXTENSION, value), dns_san("sid.example.com")])
    outcome = send(site.url, site.message(device, csr))
    assert outcome.short == SUCCESS
    certificate = outcome.certrep.certificate(device)
    assert SID_EXTENSION not in {one.oid.dotted_string for one in certificate.extensions}
    assert sid not in outcome.certrep.certificates(device)[0]
    asked = site.calls("validateRequest")[-1]["json"]["request"]
    assert base64.b64decode(asked["certificateRequest"]) == csr


def enrolled(site: Site) -> tuple[Device, str, x509.Certificate]:
    """A device, its transaction and its certificate."""
    device = site.device()
    outcome = send(site.url, site.message(device))
    return device, outcome.certrep.transaction_id, outcome.certrep.certificate(device)


def on_crl(certificate: x509.Certificate) -> bool:
    """Is it on the CRL that it names?"""
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    (address,) = points[0].full_name or ()
    listed = x509.load_der_x509_crl(wire.request("GET", address.value).body)
    return listed.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None


def pending(site: Site) -> list[dict[str, Any]]:
    return [one for one in site.intune.do("revocations") if one["pending"]]


def test_intune_revokes_what_it_was_told_of_and_nothing_else(site: Site) -> None:
    device, transaction_id, certificate = enrolled(site)
    other, _, spared = enrolled(site)
    asked = site.intune.do("revoke_notified", tenant=TENANT, transaction_id=transaction_id)
    assert asked["issuer_name"] == site.calls("successNotification")[-1]["json"]["notification"]["certificateAuthority"]
    _, told = site.sync()
    assert told["counts"]["revoked"] == 1
    assert [row["state"] for row in site.certificates(device, other)] == ["revoked", "issued"]
    until(lambda: on_crl(certificate))
    assert not on_crl(spared)
    assert pending(site) == []
    _, again = site.sync()
    assert set(again["counts"].values()) == {0}


def test_a_revocation_that_could_not_be_told_is_told_as_done_later(site: Site) -> None:
    device, transaction_id, _ = enrolled(site)
    site.intune.do("revoke_notified", tenant=TENANT, transaction_id=transaction_id)
    site.fail("uploadRevocationResults", kind="status", status=500)
    status, _ = site.sync(check=False)
    assert status != 0
    assert [row["state"] for row in site.certificates(device)] == ["revoked"]
    assert len(pending(site)) == 1
    _, told = site.sync()
    assert told["counts"]["already_revoked"] == 1
    (result,) = site.intune.do("revocations")[-1]["results"]
    assert result["succeeded"] is True


def test_serials_are_read_in_any_spelling_and_foreign_ones_spared(site: Site) -> None:
    device, _, certificate = enrolled(site)
    foreign_device = Device.named("of-the-default-integration", rsa_key())
    answer = send(site.server.url, pkcs_req(foreign_device, site.server.ra, site.server.secret))
    foreign = answer.certrep.certificate(foreign_device).serial_number
    issuer = site.calls("successNotification")[-1]["json"]["notification"]["issuingCertificateAuthority"]
    digits = f"{certificate.serial_number:040x}"
    spelled = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
    for text in (spelled, f"{foreign:X}", "not a serial", "7FFF"):
        site.intune.do("request_revocation", tenant=TENANT, serial_number=text, issuer_name=issuer)
    _, told = site.sync()
    counts = {name: count for name, count in told["counts"].items() if count}
    assert counts == {"revoked": 1, "not_found": 2, "unreadable": 1}
    assert [row["state"] for row in site.certificates(device, foreign_device)] == ["revoked", "issued"]
    codes = [one["results"][0]["errorCode"] for one in site.intune.do("revocations")[-4:]]
    absent = "CertificateNotFoundError"
    assert codes == ["None", absent, "ParameterDataInvalidError", absent]


def test_the_operators_test_says_which_permission_is_missing(site: Site) -> None:
    good = json.loads(site.server.run("integration", "test", "corp", "--json").stdout)
    assert good["passed"]
    site.intune.do("set_app", tenant=TENANT, client_id=site.client_id, roles=["scep_challenge_provider"])
    try:
        bad = site.server.run("integration", "test", "corp", check=False)
    finally:
        site.intune.do(
            "set_app",
            tenant=TENANT,
            client_id=site.client_id,
            roles=["scep_challenge_provider", "Application.Read.All"],
        )
    assert bad.returncode != 0
    assert "Application.Read.All" in bad.stdout
    assert SECRET not in bad.stdout + bad.stderr


def test_a_secret_rotated_in_entra_is_changed_without_a_restart(site: Site, tmp_path: Path) -> None:
    fresh = tmp_path / "secret"
    fresh.write_text("another~secret")
    site.intune.do("set_app", tenant=TENANT, client_id=site.client_id, secret="another~secret")
    site.intune.do("revoke_tokens", tenant=TENANT)
    device = site.device()
    message = site.message(device)
    try:
        assert wire.post(site.url, message).status == 503
        shown = site.server.run("integration", "rotate-secret", "corp", "--secret-file", str(fresh), "--json").stdout
        assert "another" not in shown
        until(lambda: outcome_of(wire.post(site.url, message)).short == SUCCESS)
    finally:
        site.intune.do("set_app", tenant=TENANT, client_id=site.client_id, secret=SECRET)
        fresh.write_text(SECRET)
        site.server.run("integration", "rotate-secret", "corp", "--secret-file", str(fresh))


def test_the_secret_is_nowhere_to_be_seen(site: Site) -> None:
    shown = site.server.run("integration", "show", "corp", "--json").stdout
    listed = site.server.run("integration", "list", "--format", "jsonl").stdout
    metrics = wire.request("GET", f"http://127.0.0.1:{site.server.admin_port}/metrics").body.decode()
    assert 'scep_server_plugin_events_total{event="validated",plugin="intune"}' in metrics
    assert SECRET not in shown + listed + metrics + site.server.stderr()
    ledger = b"".join(path.read_bytes() for path in site.server.data.glob("ledger*"))
    assert SECRET.encode() not in ledger
