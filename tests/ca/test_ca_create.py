"""The hierarchy that is made: what its certificates say, who may read its files, and that nothing is overwritten."""

import shutil
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from scep_server.ca import (
    Fingerprints,
    HierarchyLifetimes,
    HierarchyNames,
    create_hierarchy,
    load_ca,
    read_ca_certificates,
)
from scep_server.ca.identities import make_root
from scep_server.ca.store import NewCa, write_ca
from scep_server.errors import ConfigurationError
from tests.ca.ca_orders import NOW, PASSPHRASE, PUBLIC_URL, clock


def usage_bits(certificate):
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    bits = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return {bit for bit in (*bits, "key_cert_sign", "crl_sign") if getattr(usage.value, bit)}


def parsed(hierarchy, *kind):
    certificates = read_ca_certificates(hierarchy(*kind))
    return [x509.load_der_x509_certificate(der) for der in certificates.scep]


@pytest.mark.parametrize("key_type", ["rsa2048", "p256", "p384"])
def test_ra_identity_decrypts_and_cannot_issue(hierarchy, key_type):
    ra, issuing, root = parsed(hierarchy, key_type)
    assert isinstance(ra.public_key(), rsa.RSAPublicKey)
    assert usage_bits(ra) == {"digital_signature", "key_encipherment"}
    assert list(ra.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not ra.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    for ca in (issuing, root):
        assert usage_bits(ca) == {"key_cert_sign", "crl_sign"}
        assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issuing.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_default_names_are_those_operators_look_for(hierarchy):
    ra, issuing, root = parsed(hierarchy)
    assert [certificate.subject.rfc4514_string() for certificate in (ra, issuing, root)] == [
        "CN=Organization SCEP Registration Authority",
        "CN=Organization Intermediate Authority",
        "CN=Organization Root Authority",
    ]


def test_ca_identity_has_all_four_bits_and_is_answered_alone(hierarchy):
    (issuing,) = parsed(hierarchy, "rsa2048", "ca")
    assert usage_bits(issuing) == {"digital_signature", "key_encipherment", "key_cert_sign", "crl_sign"}


def test_key_types_are_as_named(hierarchy):
    for key_type, curve in (("p256", ec.SECP256R1), ("p384", ec.SECP384R1)):
        for certificate in parsed(hierarchy, key_type)[1:]:
            assert isinstance(certificate.public_key().curve, curve)
    assert parsed(hierarchy, "rsa2048")[1].public_key().key_size == 2048


def test_no_certificate_outlives_its_issuer(tmp_path):
    lifetimes = HierarchyLifetimes(root=30, intermediate=3650, ra=3650)
    create_hierarchy(tmp_path / "ca", PASSPHRASE, key_type="p256", lifetimes=lifetimes, clock=clock)
    certificates = read_ca_certificates(tmp_path / "ca").scep
    ends = [x509.load_der_x509_certificate(der).not_valid_after_utc for der in certificates]
    assert len(set(ends)) == 1
    assert (ends[0] - NOW).days == 29  # 30 days, less the cut fraction of a second


def test_openssl_builds_the_chain(hierarchy, require_program, tmp_path):
    openssl = require_program("openssl", "openssl")
    for kind in (("rsa2048", "ra"), ("p384", "ra"), ("rsa2048", "ca")):
        directory = hierarchy(*kind)
        leaf = directory / ("ra.pem" if kind[1] == "ra" else "issuing.pem")
        command = [openssl, "verify", "-x509_strict", "-attime", str(int(NOW.timestamp()))]
        command += ["-CAfile", directory / "root.pem", "-untrusted", directory / "issuing.pem", leaf]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_files_are_their_owners_alone(hierarchy):
    directory = hierarchy()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    names = {"root.pem", "root.key.pem", "issuing.pem", "issuing.key.pem", "ra.pem", "ra.key.pem", "issuer.json"}
    assert modes == dict.fromkeys(names, 0o600)


def test_refuses_to_overwrite(hierarchy):
    directory = hierarchy()
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(ConfigurationError, match="never overwritten"):
        create_hierarchy(directory, PASSPHRASE, key_type="p256", clock=clock)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_two_makers_at_once_leave_one_whole_ca(hierarchy, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    new = NewCa(None, None, (), make_root(key, "Second", NOW, 30), None, 1)
    directory = shutil.copytree(hierarchy(), tmp_path / "ca")  # the first one finished after the second had looked
    before = (directory / "issuing.pem").read_bytes()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_ca(directory, new, PASSPHRASE)
    assert (directory / "issuing.pem").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]


def test_fills_an_empty_directory_and_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "ca").mkdir()
    create_hierarchy(tmp_path / "ca", PASSPHRASE, key_type="p256", clock=clock)
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]
    assert load_ca(tmp_path / "ca", PASSPHRASE, PUBLIC_URL).authority.crl_shards == 1


@pytest.mark.parametrize(
    ("choice", "cause"),
    [
        ({"key_type": "rsa1024"}, "rsa1024"),
        ({"key_type": "ed25519"}, "ed25519"),
        ({"ra_key_type": "p256"}, "RSA"),
        ({"scep_identity": "ca", "key_type": "p256"}, "RSA"),
        ({"scep_identity": "both"}, "both"),
        ({"crl_shards": 0}, "shards"),
        ({"names": HierarchyNames(root="Same", intermediate="Same")}, "differ"),
        ({"names": HierarchyNames(ra="")}, "1 to 64"),
        ({"lifetimes": HierarchyLifetimes(root=0)}, "lifetime"),
    ],
)
def test_refuses_what_would_not_work_before_making_a_key(tmp_path, choice, cause):
    with pytest.raises(ConfigurationError, match=cause):
        create_hierarchy(tmp_path / "ca", PASSPHRASE, clock=clock, **choice)
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_passphrase_that_protects_nothing(tmp_path):
    for passphrase in (b"", b"short"):
        with pytest.raises(ConfigurationError, match="at least 8"):
            create_hierarchy(tmp_path / "ca", passphrase, key_type="p256")
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_are_those_openssl_prints(hierarchy, require_program):
    openssl = require_program("openssl", "openssl")
    shown = Fingerprints.of(read_ca_certificates(hierarchy()).root)
    for digest, value in (("sha256", shown.sha256), ("sha1", shown.sha1)):
        command = [openssl, "x509", "-in", hierarchy() / "root.pem", "-noout", "-fingerprint", f"-{digest}"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert printed.strip().partition("=")[2].replace(":", "").lower() == value
