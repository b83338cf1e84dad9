"""Opening a CA directory: without the root's key, quickly, and not at all when something does not fit."""

import hashlib
import shutil
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scep_server.ca import load_ca, read_ca_certificates
from scep_server.errors import ConfigurationError
from tests.ca.ca_orders import PASSPHRASE, PUBLIC_URL, clock, device_order, issue


@pytest.fixture
def directory(hierarchy, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(hierarchy("rsa2048"), tmp_path / "ca")


def test_runs_without_the_roots_key(directory):
    (directory / "root.key.pem").unlink()
    issue(load_ca(directory, PASSPHRASE, PUBLIC_URL, clock=clock).authority, device_order())


def test_opens_within_the_start_up_time(directory):
    started = time.process_time()
    load_ca(directory, PASSPHRASE, PUBLIC_URL)
    assert time.process_time() - started < 3


def test_getcacert_is_ra_then_intermediate_then_root(loaded):
    ca = loaded("rsa2048")
    ra, issuing, root = (x509.load_der_x509_certificate(der) for der in ca.scep_certificates)
    ra.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert ca.ca_certificates == {ca.authority.issuer_id: ca.scep_certificates[1]}


def test_keys_and_names_no_device_may_have(loaded):
    for kind, count in ((("rsa2048", "ra"), 3), (("rsa2048", "ca"), 2)):
        ca = loaded(*kind)
        held = [x509.load_der_x509_certificate(der) for der in {*ca.scep_certificates, *ca.certificates.chain}]
        spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert ca.forbidden_keys == {hashlib.sha256(one.public_key().public_bytes(*spki)).digest() for one in held}
        assert ca.forbidden_subjects == {one.subject.public_bytes() for one in held}
        assert len(ca.forbidden_keys) == count


def test_issuer_id_is_of_the_key(loaded):
    ca = loaded("p256")
    spki = (
        x509.load_der_x509_certificate(ca.certificates.issuing)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    assert ca.authority.issuer_id == hashlib.sha256(spki).hexdigest()[:16]


def test_a_file_of_another_ca_is_noticed(directory, hierarchy):
    other = hierarchy("p256")
    for name, text in (
        ("issuing.key.pem", "issuing key does not belong"),
        ("ra.key.pem", "not RSA|does not belong"),
        ("root.pem", "was not signed by"),
        ("ra.pem", "was not signed by"),
        ("issuing.pem", "was not signed by"),
    ):
        original = (directory / name).read_bytes()
        replacement = "issuing.key.pem" if name == "ra.key.pem" else name
        (directory / name).write_bytes((other / replacement).read_bytes())
        with pytest.raises(ConfigurationError, match=text):
            load_ca(directory, PASSPHRASE, PUBLIC_URL)
        (directory / name).write_bytes(original)
    load_ca(directory, PASSPHRASE, PUBLIC_URL)


def test_a_missing_file_is_named(directory):
    for name in ("issuing.pem", "issuing.key.pem", "ra.key.pem"):
        (directory / name).rename(directory / "away")
        with pytest.raises(ConfigurationError, match=rf"{name} does not exist"):
            load_ca(directory, PASSPHRASE, PUBLIC_URL)
        (directory / "away").rename(directory / name)


def test_a_ca_without_the_bits_cannot_stand_in_for_a_lost_ra(directory):
    (directory / "ra.pem").unlink()
    with pytest.raises(ConfigurationError, match="lacks digitalSignature and keyEncipherment"):
        load_ca(directory, PASSPHRASE, PUBLIC_URL)


def test_a_missing_root_is_no_root(directory):
    (directory / "root.pem").unlink()
    with pytest.raises(ConfigurationError, match="no root"):
        read_ca_certificates(directory)


def test_open_modes_and_a_wrong_passphrase_stop_the_start(directory):
    with pytest.raises(ConfigurationError, match="passphrase is wrong"):
        load_ca(directory, b"another passphrase", PUBLIC_URL)
    for name in ("issuing.key.pem", "ra.key.pem"):
        (directory / name).chmod(0o644)
        with pytest.raises(ConfigurationError, match=rf"mode 0644.*chmod 600 .*{name}"):
            load_ca(directory, PASSPHRASE, PUBLIC_URL)
        (directory / name).chmod(0o600)


@pytest.mark.parametrize("record", ["", "{}", '{"crl_shards": 0}', '{"crl_shards": true}', '{"crl_shards": "2"}', "[]"])
def test_a_damaged_shard_count_is_not_guessed(directory, record):
    (directory / "issuer.json").write_text(record)
    with pytest.raises(ConfigurationError, match="shards"):
        load_ca(directory, PASSPHRASE, PUBLIC_URL)


@pytest.mark.parametrize("url", ["", "ca.example", "ftp://ca.example", "http://", "https://ca.exämple", "http://a b"])
def test_refuses_a_url_no_certificate_should_carry(directory, url):
    with pytest.raises(ConfigurationError, match="public_url"):
        load_ca(directory, PASSPHRASE, url)


def test_a_slash_at_the_urls_end_changes_nothing(directory):
    ca = load_ca(directory, PASSPHRASE, PUBLIC_URL + "/", clock=clock)
    assert PUBLIC_URL.encode() + b"/crl/" in ca.authority.prepare(device_order()).tbs
