"""Keys at rest: encrypted so that others read them too, and refused when they lie open."""

import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from scep_server.ca import keys
from scep_server.errors import ConfigurationError
from tests.ca.ca_orders import PASSPHRASE

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key.pem"
    keys.save_private_key(path, KEY, PASSPHRASE)
    return path


def test_what_is_saved_is_loaded(key_file):
    assert keys.load_private_key(key_file, PASSPHRASE).private_numbers() == KEY.private_numbers()


def test_openssl_reads_it_and_sees_the_iterations(key_file, require_program):
    openssl = require_program("openssl", "openssl")
    command = [openssl, "pkey", "-in", key_file, "-passin", "pass:" + PASSPHRASE.decode(), "-pubout"]
    public = subprocess.run(command, capture_output=True, check=True).stdout
    assert serialization.load_pem_public_key(public) == KEY.public_key()
    structure = subprocess.run(
        [openssl, "asn1parse", "-in", key_file], capture_output=True, text=True, check=True
    ).stdout
    assert f"INTEGER           :{keys.KDF_ITERATIONS:06X}" in structure
    assert "hmacWithSHA256" in structure
    assert "aes-256-cbc" in structure


def test_a_wrong_passphrase_is_named_without_being_shown(key_file):
    with pytest.raises(ConfigurationError, match="passphrase is wrong") as caught:
        keys.load_private_key(key_file, b"not this one")
    assert "not this one" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610])
def test_refuses_a_key_that_others_can_reach(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"mode 0{mode:o}.*chmod 600 {key_file}"):
        keys.load_private_key(key_file, PASSPHRASE)
    key_file.chmod(0o400)
    keys.load_private_key(key_file, PASSPHRASE)


def test_refuses_to_overwrite_a_key_or_follow_a_link(key_file, tmp_path):
    before = key_file.read_bytes()
    with pytest.raises(ConfigurationError, match="never overwritten"):
        keys.save_private_key(key_file, KEY, PASSPHRASE)
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(ConfigurationError, match="never overwritten"):
        keys.save_private_key(tmp_path / "link.pem", KEY, PASSPHRASE)
    assert key_file.read_bytes() == before
    assert not (tmp_path / "elsewhere.pem").exists()


def test_refuses_a_plain_key_where_an_encrypted_one_belongs(tmp_path):
    path = tmp_path / "plain.pem"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(KEY.private_bytes(*plain))
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="not encrypted"):
        keys.load_private_key(path, PASSPHRASE)


def test_refuses_weak_and_foreign_keys():
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(ConfigurationError, match="1024 bits"):
        keys.check_ca_key(weak, "a file")
    for foreign in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1()), None):
        with pytest.raises(ConfigurationError, match="neither RSA nor EC"):
            keys.check_ca_key(foreign, "a file")


def test_missing_or_senseless_files_are_told_apart(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        keys.load_private_key(tmp_path / "none.pem", PASSPHRASE)
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"junk")
    junk.chmod(0o600)
    with pytest.raises(ConfigurationError, match="no PEM private key"):
        keys.load_private_key(junk, PASSPHRASE)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keys.load_private_key(tmp_path, PASSPHRASE)
