"""The private CA behind the simulator's HTTPS: one root, one server certificate, kept in a folder when asked."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER_NAMES = (
    "login.microsoftonline.test",
    "graph.microsoft.test",
    "api.manage.microsoft.test",
    "fef.test.manage.microsoft.test",
    "localhost",
)
LIFETIME = dt.timedelta(days=30)
BACKDATE = dt.timedelta(hours=1)


@dataclass(frozen=True)
class PrivateAuthority:
    """A root that signed one server certificate."""

    root: x509.Certificate
    server: x509.Certificate
    server_key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls) -> PrivateAuthority:
        """New keys, P-256 so that a test does not wait for them."""
        root_key = ec.generate_private_key(ec.SECP256R1())
        server_key = ec.generate_private_key(ec.SECP256R1())
        root = _root(root_key)
        return cls(root, _server(server_key, root, root_key), server_key)

    @classmethod
    def kept_in(cls, folder: Path) -> PrivateAuthority:
        """The authority of an earlier run in this folder, or a new one: clients go on trusting it after a restart."""
        files = [folder / name for name in ("ca.pem", "server.pem", "server.key")]
        if all(file.exists() for file in files):
            root, server = (x509.load_pem_x509_certificate(file.read_bytes()) for file in files[:2])
            key = serialization.load_pem_private_key(files[2].read_bytes(), None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return cls(root, server, key)
        made = cls.create()
        folder.mkdir(parents=True, exist_ok=True)
        files[2].touch(mode=0o600)
        for file, text in zip(files, (made.root_pem, made.server_pem, made.key_pem), strict=True):
            file.write_bytes(text)
        return made

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    @property
    def server_pem(self) -> bytes:
        return self.server.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as both:  # the ssl module loads keys from files only
            both.write(self.server_pem + self.key_pem)
            both.flush()
            context.load_cert_chain(both.name)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Trusts this root and nothing else."""
        return ssl.create_default_context(cadata=self.root_pem.decode("ascii"))


def _root(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Simulator Root")])
    return (
        _dated()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey, root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in SERVER_NAMES]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    return (
        _dated()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAMES[0])]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )


def _dated() -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
