"""What OpenSSL's command line can do of SCEP: envelopes, decryption, signature and chain verification.

`openssl cms` cannot add SCEP's signed attributes, so the outer SignedData stays ours; all else here is OpenSSL's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.conftest import find_program
from tests.e2e.identities import Device


class OpenSsl:
    """The program, with a scratch directory for the files it wants."""

    def __init__(self, place: Path) -> None:
        self.program = str(find_program("openssl", "openssl"))
        self.place = place

    def run(self, *arguments: str, data: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """`openssl ARGUMENTS` with data on stdin."""
        done = subprocess.run([self.program, *arguments], input=data, capture_output=True, timeout=30, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"openssl {arguments}: {done.stderr.decode()}")
        return done

    def pem(self, name: str, *certificates: bytes) -> str:
        """Path of a PEM file with these certificates."""
        path = self.place / f"{name}.pem"
        parsed = (x509.load_der_x509_certificate(der) for der in certificates)
        path.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in parsed))
        return str(path)

    def key(self, device: Device) -> str:
        """Path of the device's private key."""
        path = self.place / "device.key"
        path.write_bytes(
            device.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(path)

    def envelope(
        self, plaintext: bytes, certificate: bytes | None, *options: str, cipher: str = "aes-128-cbc"
    ) -> bytes:
        """EnvelopedData for this certificate; options such as -stream, -keyid or -keyopt. None: a password only."""
        recipient = [] if certificate is None else ["-recip", self.pem("recipient", certificate)]
        flags = [option for option in options if option in ("-stream", "-keyid")]
        rest = [option for option in options if option not in flags]
        command = ["cms", "-encrypt", "-binary", "-outform", "DER", f"-{cipher}", *flags, *recipient, *rest]
        return self.run(*command, data=plaintext).stdout

    def decrypt(self, envelope: bytes, device: Device) -> bytes:
        """Plaintext of an EnvelopedData for the device's RSA key."""
        return self.run("cms", "-decrypt", "-inform", "DER", "-inkey", self.key(device), data=envelope).stdout

    def decrypt_with_password(self, envelope: bytes, password: str) -> bytes:
        """Plaintext of an EnvelopedData under a password."""
        return self.run("cms", "-decrypt", "-inform", "DER", "-pwri_password", password, data=envelope).stdout

    def verify_reply(self, reply: bytes, anchors: Sequence[bytes]) -> bytes:
        """Content of a CertRep whose signature and signer chain OpenSSL accepts."""
        anchor_file = self.pem("anchors", *anchors)
        command = ("cms", "-verify", "-binary", "-inform", "DER", "-CAfile", anchor_file, "-purpose", "any")
        return self.run(*command, data=reply).stdout

    def verify(
        self, certificate: bytes, intermediates: Sequence[bytes], root: bytes, crl: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """`openssl verify` of a device certificate, with its issuer's CRL when given; the verdict is the returncode."""
        command = ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", self.pem("root", root)]
        command += ["-untrusted", self.pem("untrusted", *intermediates)]
        if crl is not None:
            path = self.place / "crl.pem"
            path.write_bytes(self.run("crl", "-inform", "DER", "-outform", "PEM", data=crl).stdout)
            command += ["-crl_check", "-CRLfile", str(path)]
        return self.run(*command, self.pem("leaf", certificate), check=False)
