"""The folder of an enrolment: 0600, never overwritten, and no request is lost."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.client import Folder, Outstanding
from scep_server.client.folder import load_signer
from scep_server.client.identity import build_csr, parse_san, parse_subject, self_signed
from scep_server.errors import ConfigurationError
from tests.client.scep_peer import Hierarchy, certificate, name

KEY = ec.generate_private_key(ec.SECP256R1())


def outstanding(path: Path) -> Outstanding:
    csr = build_csr(KEY, name("device"), (), "Correct Horse 42").public_bytes(Encoding.DER)
    signer = self_signed(KEY, name("device")).der
    return Outstanding("http://127.0.0.1/scep/x", "ABC", 19, False, csr, signer, str(path / "key.pem"))


def issued(rsa_keys: tuple[rsa.RSAPrivateKey, ...]) -> tuple[x509.Certificate, x509.Certificate]:
    hierarchy = Hierarchy.make(rsa_keys[0])
    return (
        certificate(name("device"), KEY.public_key(), hierarchy.root.subject, hierarchy.root_key),
        hierarchy.root,
    )


def test_three_files_for_the_owner_only(tmp_path: Path, rsa_keys: tuple[rsa.RSAPrivateKey, ...]) -> None:
    old = os.umask(0)
    try:
        folder = Folder(tmp_path / "device")
        folder.begin(KEY, outstanding(folder.path))
        assert folder.outstanding() == outstanding_of(folder)
        leaf, root = issued(rsa_keys)
        folder.finish(leaf, [root])
    finally:
        os.umask(old)
    files = {path.name: path.stat().st_mode & 0o777 for path in folder.path.iterdir()}
    assert files == {"key.pem": 0o600, "cert.pem": 0o600, "chain.pem": 0o600}
    assert load_signer(folder.path / "cert.pem", folder.path / "key.pem").certificate == leaf


def outstanding_of(folder: Folder) -> Outstanding:
    """What is stored, compared field by field with the CSR read again."""
    stored = folder.outstanding()
    assert x509.load_der_x509_csr(stored.csr).is_signature_valid
    return stored


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for existing in ("key.pem", "cert.pem", "chain.pem"):
        path = tmp_path / existing.partition(".")[0]
        path.mkdir()
        (path / existing).write_text("mine")
        with pytest.raises(ConfigurationError, match="never overwritten"):
            Folder(path).refuse_used()
    with pytest.raises(ConfigurationError, match="never overwritten"):
        Folder(tmp_path / "key").begin(KEY, outstanding(tmp_path))
    assert (tmp_path / "key" / "key.pem").read_text() == "mine"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError):
        Folder(tmp_path).begin(KEY, outstanding(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


def test_a_waiting_request_survives_and_is_not_started_twice(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "device")
    waiting = outstanding(folder.path)
    folder.begin(KEY, waiting)
    with pytest.raises(ConfigurationError, match="client poll"):
        folder.refuse_used()
    folder.mark_pending(dataclasses.replace(waiting, pending=True))
    assert folder.outstanding() == dataclasses.replace(waiting, pending=True)
    assert (folder.path / "request.json").stat().st_mode & 0o777 == 0o600


def test_a_refused_request_leaves_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "device")
    folder.begin(KEY, outstanding(folder.path))
    folder.abandon()
    assert list(folder.path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="no enrolment waits"):
        folder.outstanding()


def test_a_damaged_request_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text("{")
    with pytest.raises(ConfigurationError, match="start again"):
        Folder(tmp_path).outstanding()


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, rsa_keys: tuple[rsa.RSAPrivateKey, ...]) -> None:
    folder = Folder(tmp_path / "device")
    folder.begin(ec.generate_private_key(ec.SECP256R1()), outstanding(folder.path))
    leaf, root = issued(rsa_keys)
    folder.finish(leaf, [root])
    with pytest.raises(ConfigurationError, match="not the key of"):
        load_signer(folder.path / "cert.pem", folder.path / "key.pem")


@pytest.mark.parametrize("text", ["device 1", "CN=", "X=1", "CN=a,,O=b"])
def test_a_subject_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="RFC 4514"):
        parse_subject(text)


@pytest.mark.parametrize("text", ["example.org", "dns:", "ip:300.1.1.1", "upn:" + "x" * 128, "rid:1.2.3"])
def test_an_alternative_name_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="alternative name"):
        parse_san(text)


def test_alternative_names() -> None:
    assert parse_san("dns:a.example.org") == x509.DNSName("a.example.org")
    assert parse_san("email:a@example.org") == x509.RFC822Name("a@example.org")
    assert parse_san("uri:urn:x:1") == x509.UniformResourceIdentifier("urn:x:1")
    upn = parse_san("upn:a@b")
    assert isinstance(upn, x509.OtherName)
    assert upn.value == b"\x0c\x03a@b"
