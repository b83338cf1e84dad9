"""Writes the seed corpus: one input of each shape that devices send, so that fuzzing starts behind the first checks.

`python -m tests.fuzz.seeds` writes tests/fuzz/corpus afresh. Keys are new each time; the shapes are what matters.
"""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

from scep_server.codec.capabilities import ca_certs
from tests.e2e.crafted import pkcs_req
from tests.e2e.der import context, implicit, indefinite, oid, printable, sequence, tlv, utf8
from tests.e2e.identities import Device, certificate, certification_request, dns_san, ec_key, extension, name, rsa_key

CORPUS = Path(__file__).parent / "corpus"


def seeds() -> dict[str, bytes]:
    """File name -> content."""
    device, ec_device = Device.named("device"), Device.named("ec", ec_key())
    ra = certificate(rsa_key(1), name(("CN", "RA")))
    request = pkcs_req(device, ra, "secret")
    chain = ca_certs([ra, certificate(rsa_key(2), name(("CN", "Root")))])[0]
    general_names = [
        implicit(2, b"a.example"),
        implicit(1, b"a@b.example"),
        implicit(6, b"urn:x"),
        implicit(7, bytes(4)),
    ]
    general_names += [context(4, name(("CN", "d"))), implicit(8, b"\x2a\x03")]
    general_names += [context(0, oid("1.3.6.1.4.1.311.20.2.3"), context(0, utf8("a@b")))]
    strings = [utf8("é"), printable("a"), tlv(0x14, b"\xe9"), tlv(0x1E, b"\0a"), tlv(0x1C, b"\0\0\0a"), tlv(0x16, b"a")]
    return {
        "request": request,
        "request-oaep": pkcs_req(device, ra, "secret", transport="oaep-sha256"),
        "request-des3-sha1": pkcs_req(device, ra, "secret", cipher="des3", digest="sha1"),
        "request-ber": indefinite(request),
        "request-ec": pkcs_req(ec_device, ra, "secret"),
        "request-text": base64.b64encode(request),
        "query": b"operation=PKIOperation&message=" + quote(base64.b64encode(request)).encode(),
        "query-caps": b"operation=GetCACaps&message=default",
        "chain": chain,
        "certificate": ra,
        "csr": certification_request(rsa_key(), device.subject, challenge="secret", extensions=[dns_san("a.example")]),
        "csr-ec": certification_request(
            ec_key(), device.subject, extensions=[extension("2.5.29.15", b"\x03\x02\x07\x80")]
        ),
        "name": name(("C", "DE"), ("O", "Example"), ("CN", "device")),
        "name-strings": sequence(*(tlv(0x31, sequence(oid("2.5.4.3"), value)) for value in strings)),
        "alternative-names": sequence(*general_names),
        "caps": b"AES\nSHA-256\n",
    }


def write(directory: Path = CORPUS) -> None:
    """Write every seed as a file."""
    directory.mkdir(exist_ok=True)
    for label, content in seeds().items():
        (directory / label).write_bytes(content)


if __name__ == "__main__":
    write()
