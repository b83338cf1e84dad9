"""CRLs against OpenSSL and the cryptography package (R79, R80), and quick enough for a large fleet."""

import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ReasonFlags

from scep_server.ca.crl import _CODES
from scep_server.types import RevokedCertificate
from tests.ca.ca_orders import NOW, PUBLIC_URL, device_order, recorded

WEEK = timedelta(days=7)


def revoked(serial, reason=ReasonFlags.unspecified, at=NOW):
    return RevokedCertificate(serial, at, reason)


def signed(ca, entries=(), *, shard=0, number=7):
    crl = ca.authority.sign_crl(shard, number, NOW, NOW + WEEK, entries)
    parsed = x509.load_der_x509_crl(crl.der)
    issuer = x509.load_der_x509_certificate(ca.authority.chain()[0].der)
    assert parsed.is_signature_valid(issuer.public_key())
    assert parsed.issuer == issuer.subject
    return crl, parsed


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_what_it_says(loaded, kind):
    ca = loaded(kind)
    crl, parsed = signed(ca, [revoked(5)])
    issuer = x509.load_der_x509_certificate(ca.authority.chain()[0].der)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority_key = parsed.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert authority_key.value == x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    number = parsed.extensions.get_extension_for_class(x509.CRLNumber)
    assert (number.value.crl_number, number.critical) == (7, False)
    assert len(parsed.extensions) == 2
    whole = NOW.replace(microsecond=0)
    assert (parsed.last_update_utc, parsed.next_update_utc) == (whole, whole + WEEK)
    assert (crl.this_update, crl.next_update) == (whole, whole + WEEK)
    assert (crl.issuer_id, crl.shard, crl.number) == (ca.authority.issuer_id, 0, 7)


def test_an_empty_list_is_absent(loaded, require_program):
    openssl = require_program("openssl", "openssl")
    crl, parsed = signed(loaded("p256"))
    assert len(parsed) == 0
    command = [openssl, "crl", "-inform", "DER", "-noout", "-text"]
    text = subprocess.run(command, input=crl.der, capture_output=True, check=True).stdout.decode()
    assert "No Revoked Certificates." in text
    assert "Version 2" in text
    # An empty SEQUENCE would follow nextUpdate; the next element must be the extensions.
    assert parsed.tbs_certlist_bytes.partition(b"Z\xa0")[2]


def test_every_reason_and_the_silence_of_unspecified(loaded):
    entries = [revoked(100 - code, reason) for reason, code in _CODES.items()]
    _, parsed = signed(loaded("p256"), [*entries, revoked(200)])
    for entry in entries:
        found = parsed.get_revoked_certificate_by_serial_number(entry.serial)
        extension = found.extensions.get_extension_for_class(x509.CRLReason)
        assert (extension.value.reason, extension.critical) == (entry.reason, False)
    assert len(parsed.get_revoked_certificate_by_serial_number(200).extensions) == 0
    assert set(_CODES) == set(ReasonFlags) - {ReasonFlags.unspecified, ReasonFlags.remove_from_crl}


def test_sorted_by_serial_with_times_of_both_forms(loaded):
    late = datetime(2051, 1, 1, tzinfo=UTC)
    entries = [revoked(2**130, at=late), revoked(1), revoked(2**64)]
    _, parsed = signed(loaded("p256"), iter(entries))
    assert [entry.serial_number for entry in parsed] == [1, 2**64, 2**130]
    assert parsed[2].revocation_date_utc == late


def test_a_shard_names_itself_as_its_certificates_do(loaded):
    ca = loaded("rsa2048", "ra", 4)
    for shard in range(4):
        _, parsed = signed(ca, shard=shard)
        point = parsed.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert point.critical
        assert point.value.full_name[0].value == f"{PUBLIC_URL}/crl/{ca.authority.issuer_id}/{shard}.crl"
        assert not point.value.indirect_crl
    with pytest.raises(IndexError):
        ca.authority.sign_crl(4, 1, NOW, NOW + WEEK, [])


@pytest.mark.parametrize("kind", [("rsa2048", "ra", 1), ("p384", "ra", 1), ("rsa2048", "ca", 1), ("rsa2048", "ra", 4)])
def test_openssl_checks_revocation_with_it(loaded, hierarchy, kind, require_program, tmp_path):
    openssl = require_program("openssl", "openssl")
    ca, directory = loaded(*kind), hierarchy(*kind)
    prepared = ca.authority.prepare(device_order())
    leaf, lists = tmp_path / "leaf.der", tmp_path / "crls.pem"
    leaf.write_bytes(ca.authority.issue(recorded(prepared)).der)
    command = [
        openssl,
        "verify",
        "-crl_check",
        "-x509_strict",
        "-extended_crl",
        "-attime",
        str(int(NOW.timestamp()) + 1),
    ]
    command += ["-CAfile", directory / "root.pem", "-untrusted", directory / "issuing.pem", "-CRLfile", lists, leaf]
    for entries, code, text in (([], 0, "OK"), ([revoked(prepared.serial)], 2, "certificate revoked")):
        _, parsed = signed(ca, entries, shard=prepared.crl_shard)
        lists.write_bytes(parsed.public_bytes(Encoding.PEM))
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == code, result.stderr
        assert text in result.stdout + result.stderr


def test_a_hundred_thousand_entries_take_a_moment(loaded):
    entries = [revoked(2**127 + number * 7919, ReasonFlags.key_compromise) for number in range(100_000)]
    started = time.process_time()
    crl = loaded("p256").authority.sign_crl(0, 1, NOW, NOW + WEEK, entries)
    spent = time.process_time() - started
    assert len(x509.load_der_x509_crl(crl.der)) == 100_000
    assert spent < 5, f"{spent:.1f} s of CPU"
