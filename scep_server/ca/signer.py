"""The issuing key as certificates and CRLs need it: one signature algorithm, every signature verified before use."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scep_server.ca import der
from scep_server.ca.keys import CaPrivateKey
from scep_server.errors import SignerFault

_SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
_ECDSA_BY_CURVE: dict[str, tuple[bytes, hashes.HashAlgorithm]] = {
    "secp256r1": (bytes.fromhex("300a06082a8648ce3d040302"), hashes.SHA256()),
    "secp384r1": (bytes.fromhex("300a06082a8648ce3d040303"), hashes.SHA384()),
    "secp521r1": (bytes.fromhex("300a06082a8648ce3d040304"), hashes.SHA512()),
}


class SoftwareSigner:
    """Signs with a key in memory. The key was validated when it was loaded; both methods block for one operation.

    algorithm: AlgorithmIdentifier of its signatures, DER.
    spki: SubjectPublicKeyInfo, DER.
    """

    def __init__(self, key: CaPrivateKey) -> None:
        self._key = key
        self._public_key = key.public_key()
        self.spki = self._public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.algorithm: bytes
        self._hash: hashes.HashAlgorithm
        if isinstance(key, rsa.RSAPrivateKey):
            self.algorithm, self._hash = _SHA256_WITH_RSA, hashes.SHA256()
        else:
            self.algorithm, self._hash = _ECDSA_BY_CURVE[key.curve.name]
        self._padding = padding.PKCS1v15()
        self._ecdsa = ec.ECDSA(self._hash)

    def sign(self, data: bytes) -> bytes:
        """Certificate or CertificateList: data, the algorithm and a signature that was verified.

        SignerFault when signing fails or gives a signature that does not verify (F21): nothing half-signed leaves.
        """
        try:
            if isinstance(self._key, rsa.RSAPrivateKey):
                signature = self._key.sign(data, self._padding, self._hash)
            else:
                signature = self._key.sign(data, self._ecdsa)
        except Exception as error:
            raise SignerFault(f"the issuing key could not sign ({type(error).__name__})") from error
        self._verify(signature, data)
        return der.tlv(der.SEQUENCE, data, self.algorithm, der.tlv(der.BIT_STRING, b"\x00", signature))

    def _verify(self, signature: bytes, data: bytes) -> None:
        try:
            if isinstance(self._public_key, rsa.RSAPublicKey):
                self._public_key.verify(signature, data, self._padding, self._hash)
            else:
                self._public_key.verify(signature, data, self._ecdsa)
        except InvalidSignature:
            raise SignerFault("the issuing key gave a signature that does not verify; nothing was issued") from None
