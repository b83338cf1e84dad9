"""Prepare and issue: what is recorded is what is signed, inside the issuer's life, under serials nobody can guess."""

import subprocess
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from scep_server.ca import SoftwareAuthority
from scep_server.ca.signer import SoftwareSigner
from scep_server.errors import ConfigurationError, Fault, Reason, Refusal
from scep_server.types import Intent
from tests.ca.ca_orders import (
    EC_DEVICE,
    EMPTY_NAME,
    NOW,
    PUBLIC_URL,
    RSA_DEVICE,
    clock,
    device_order,
    issue,
    name,
    recorded,
    san,
)

KINDS = [("rsa2048", "ra"), ("p256", "ra"), ("p384", "ra"), ("rsa2048", "ca")]


def authority_of(ca, **changes):
    """A fresh authority over the keys of a loaded CA."""
    settings = {"crl_shards": 1, "clock": clock} | changes
    chain = [certificate.der for certificate in ca.authority.chain()]
    return SoftwareAuthority(settings.pop("signer", ca.authority._signer), chain, PUBLIC_URL, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_issued_tbs_is_the_recorded_one_byte_for_byte(loaded, kind):
    authority = loaded(*kind).authority
    for order in (device_order(), device_order(key=EC_DEVICE), device_order(subject=EMPTY_NAME, names=DNS)):
        prepared = authority.prepare(order)
        certificate = authority.issue(recorded(prepared))
        parsed = x509.load_der_x509_certificate(certificate.der)
        assert parsed.tbs_certificate_bytes == prepared.tbs
        assert (parsed.serial_number, certificate.serial) == (prepared.serial, prepared.serial)
        assert parsed.not_valid_before_utc == prepared.not_before == certificate.not_before
        assert parsed.not_valid_after_utc == prepared.not_after == certificate.not_after
        assert certificate.subject == prepared.subject == order.subject
        parsed.verify_directly_issued_by(x509.load_der_x509_certificate(authority.chain()[0].der))


DNS = san(x509.DNSName("device.example"))


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_verifies_the_chain_for_a_client(loaded, hierarchy, kind, require_program, tmp_path):
    openssl = require_program("openssl", "openssl")
    leaf = tmp_path / "leaf.der"
    directory = hierarchy(*kind)
    for number, key in enumerate((RSA_DEVICE, EC_DEVICE)):
        leaf.write_bytes(issue(loaded(*kind).authority, device_order(subject=name(f"d{number}"), key=key)).der)
        command = [openssl, "verify", "-x509_strict", "-purpose", "sslclient", "-attime", str(int(NOW.timestamp()))]
        command += ["-CAfile", directory / "root.pem", "-untrusted", directory / "issuing.pem", leaf]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_chain_runs_from_the_issuing_ca_to_the_root(loaded):
    authority = loaded().authority
    issuing, root = authority.chain()
    assert x509.load_der_x509_certificate(issuing.der).subject.rfc4514_string().startswith("CN=Organization Intermed")
    assert issuing.issuer_id == root.issuer_id != authority.issuer_id
    assert len(authority.issuer_id) == 16


def test_addresses_in_the_certificate_are_those_served(loaded):
    ca = loaded("rsa2048", "ra", 4)
    seen = set()
    for _ in range(64):
        prepared = ca.authority.prepare(device_order())
        extensions = x509.load_der_x509_certificate(ca.authority.issue(recorded(prepared)).der).extensions
        (point,) = extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        (access,) = extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        issuer_id = ca.authority.issuer_id
        assert point.full_name[0].value == f"{PUBLIC_URL}/crl/{issuer_id}/{prepared.crl_shard}.crl"
        assert access.access_location.value == f"{PUBLIC_URL}/ca/{issuer_id}.cer"
        seen.add(prepared.crl_shard)
    assert seen == {0, 1, 2, 3}


def test_san_is_critical_only_where_the_subject_is_empty(loaded):
    for subject, critical in ((name("d"), False), (EMPTY_NAME, True)):
        certificate = issue(loaded().authority, device_order(subject=subject, names=DNS))
        extensions = x509.load_der_x509_certificate(certificate.der).extensions
        assert extensions.get_extension_for_class(x509.SubjectAlternativeName).critical is critical


# --- validity (R77, T14, F24) -----------------------------------------------------------------------------------------


def test_validity_is_cut_at_the_issuers(loaded):
    authority = loaded("p256").authority
    issuer = authority.chain()[0]
    wide = device_order(not_before=NOW - timedelta(days=30), not_after=NOW + timedelta(days=36500))
    prepared = authority.prepare(wide)
    assert (prepared.not_before, prepared.not_after) == (issuer.not_before, issuer.not_after)
    inside = authority.prepare(device_order())
    assert inside.not_before == NOW.replace(microsecond=0) - timedelta(minutes=10)
    assert inside.not_after == NOW.replace(microsecond=0) + timedelta(days=365)


def test_no_time_left_is_a_fault_and_no_certificate(loaded):
    authority = loaded("p256").authority
    end = authority.chain()[0].not_after
    with pytest.raises(Fault, match="no time is left"):
        authority.prepare(device_order(not_before=end, not_after=end + timedelta(days=1)))


def test_expired_issuer_neither_prepares_nor_issues_nor_lists(loaded):
    ca = loaded("p256")
    intent = recorded(ca.authority.prepare(device_order()))
    end = ca.authority.chain()[0].not_after
    expired = authority_of(ca, clock=lambda: end)
    for attempt in (
        lambda: expired.prepare(device_order()),
        lambda: expired.issue(intent),
        lambda: expired.sign_crl(0, 1, NOW, NOW + timedelta(days=1), []),
    ):
        with pytest.raises(Fault, match=r"issuing certificate ended on 20\d\d-"):
            attempt()
    last_moment = authority_of(ca, clock=lambda: end - timedelta(seconds=1))
    last_moment.issue(intent)  # the refusal left the intent unused


# --- serials (R76, K1, K7) --------------------------------------------------------------------------------------------


def test_serials_carry_128_random_bits_and_are_positive(loaded):
    drawn = []

    def randomness(length):
        drawn.append(length)
        return b"\xff" * length

    prepared = authority_of(loaded("p256"), randomness=randomness).prepare(device_order())
    assert drawn == [16]
    assert prepared.serial == int("53" + "ff" * 16, 16)
    octets = x509.load_der_x509_certificate(loaded("p256").authority._signer.sign(prepared.tbs)).serial_number
    assert octets == prepared.serial > 0


def test_serials_do_not_repeat_and_are_spread(loaded):
    authority = authority_of(loaded("p256"), lint=lambda *_: None)
    serials = [authority.prepare(device_order()).serial for _ in range(5000)]
    assert len(set(serials)) == len(serials)
    counts = Counter(octet for serial in serials for octet in serial.to_bytes(17, "big")[1:])
    expected = len(serials) * 16 / 256
    chi_square = sum((counts[octet] - expected) ** 2 / expected for octet in range(256))
    assert chi_square < 375  # 255 degrees of freedom: passed by chance once in a million


# --- what may be signed (N1, K2, F21) ---------------------------------------------------------------------------------


def test_an_intent_signs_once(loaded):
    authority = loaded("p256").authority
    intent = recorded(authority.prepare(device_order()))
    authority.issue(intent)
    with pytest.raises(RuntimeError, match="already used"):
        authority.issue(intent)


def test_another_issuers_intent_is_refused(loaded):
    prepared = loaded("p384").authority.prepare(device_order())
    intent = recorded(prepared)
    with pytest.raises(Fault, match="not loaded here"):
        loaded("p256").authority.issue(intent)
    disguised = Intent(1, loaded("p256").authority.issuer_id, prepared.serial, prepared.tbs)
    with pytest.raises(Fault, match="not ours"):
        loaded("p256").authority.issue(disguised)


def test_a_changed_record_gets_no_signature(loaded):
    authority = loaded("p256").authority
    prepared = authority.prepare(device_order())
    changed = [
        replace(prepared, serial=prepared.serial + 1),
        replace(prepared, tbs=prepared.tbs[:-1]),
        replace(prepared, tbs=b""),
        replace(prepared, tbs=prepared.tbs + b"\x00"),
    ]
    for record in changed:
        with pytest.raises(Fault, match="entry 1 holds"):
            authority.issue(recorded(record))


def test_lint_speaks_before_anything_is_recorded(loaded):
    def lint(tbs, order, issuer):
        assert order == device_order()
        assert issuer.subject in tbs
        raise Refusal(Reason.REJECTED, "lint: found")

    with pytest.raises(Refusal, match="found"):
        authority_of(loaded("p256"), lint=lint).prepare(device_order())
    with pytest.raises(Refusal, match="lint"):
        loaded("p256").authority.prepare(device_order(subject=EMPTY_NAME))


class FailingKey:
    """An RSA key in a signer that is out of order: raises, or answers with garbage."""

    def __init__(self, key, answer):
        self._key, self._answer = key, answer

    def public_key(self):
        return self._key.public_key()

    def sign(self, *arguments):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (RuntimeError("token removed, PIN 1234"), "could not sign"),
        (b"\x00" * 256, "does not verify"),
        (b"", "does not verify"),
    ],
)
def test_a_signer_out_of_order_is_a_fault_and_no_certificate(loaded, answer, text):
    ca = loaded("rsa2048")
    rsa.RSAPrivateKey.register(FailingKey)
    signer = SoftwareSigner(FailingKey(ca.authority._signer._key, answer))
    authority = authority_of(ca, signer=signer)
    with pytest.raises(Fault, match=text) as caught:
        authority.issue(recorded(authority.prepare(device_order())))
    assert "1234" not in str(caught.value)


def test_the_key_must_be_the_certificates(loaded):
    foreign = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ConfigurationError, match="does not belong"):
        authority_of(loaded("p256"), signer=foreign)
