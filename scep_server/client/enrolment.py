"""A SCEP client: asks, verifies everything it can, and says what it could not (RFC 8894 sections 2 to 4).

    async with Transport(url) as transport:
        client = await Client.connect(transport, fingerprint, report)
        outcome = await client.request(Request(...))

An answer is believed only when the server's key signed it, it repeats our transactionID and nonce, and what it carries
fits the request. Whatever does not is an exception, and nothing of it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from scep_server.client.authority import Authority, NotVerified, read_authority, sha256
from scep_server.client.pki_message import Algorithms, Request, seal, unseal
from scep_server.client.report import Check, Report, Verdict
from scep_server.client.transport import Transport
from scep_server.errors import ConfigurationError, Malformed
from scep_server.types import Cipher, Digest, FailInfo, MessageType, PkiStatus

FAIL_INFO_MEANINGS: Final = {
    FailInfo.BAD_ALG: "badAlg: the server does not support or permit an algorithm of the request",
    FailInfo.BAD_MESSAGE_CHECK: "badMessageCheck: the request arrived altered",
    FailInfo.BAD_REQUEST: "badRequest: the server does not permit this request; is the challenge right?",
    FailInfo.BAD_TIME: "badTime: the clocks differ too much",
    FailInfo.BAD_CERT_ID: "badCertId: the server knows no such certificate or transaction",
}
_DIGEST_KEYWORDS: Final = {
    Digest.SHA1: "SHA-1",
    Digest.SHA256: "SHA-256",
    Digest.SHA384: "SHA-384",
    Digest.SHA512: "SHA-512",
}
_IMPLIED: Final = frozenset({"AES", "POSTPKIOperation", "SHA-256"})
"""What SCEPStandard promises (RFC 8894 section 3.5.2)."""


@dataclass(frozen=True, slots=True)
class Issued:
    """SUCCESS, everything verified."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    """Issuing CA first."""


@dataclass(frozen=True, slots=True)
class Pending:
    """PENDING: ask again later with a CertPoll."""


@dataclass(frozen=True, slots=True)
class Refused:
    """FAILURE: the server decided against the request."""

    fail_info: FailInfo | None
    text: str
    """failInfoText, as the server wrote it."""

    def __str__(self) -> str:
        meaning = "no reason given" if self.fail_info is None else FAIL_INFO_MEANINGS[self.fail_info]
        return f"{meaning} (the server says: {self.text})" if self.text else meaning


def _now() -> datetime:
    return datetime.now(UTC)


class Client:
    """One server, its capabilities and certificates known."""

    def __init__(
        self,
        transport: Transport,
        capabilities: frozenset[str],
        authority: Authority,
        report: Report,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.capabilities = capabilities
        self.authority = authority
        self._transport = transport
        self._report = report
        self._clock = clock

    @classmethod
    async def connect(
        cls, transport: Transport, fingerprint: str | None, report: Report, clock: Callable[[], datetime] = _now
    ) -> Client:
        """Fetches GetCACaps and GetCACert, and verifies the latter. Raises NotVerified, Malformed, Unavailable."""
        if transport.encrypted:
            report(Check("TLS", Verdict.VERIFIED, "the server's certificate is good for its host name"))
        else:
            report(Check("TLS", Verdict.NOT_CHECKED, "plain HTTP; only SCEP's own signatures and encryption protect"))
        capabilities = await get_capabilities(transport)
        authority = await get_authority(transport, fingerprint, report, clock)
        return cls(transport, capabilities, authority, report, clock)

    async def request(self, request: Request, algorithms: Algorithms) -> Issued | Pending | Refused:
        """One exchange, verified. Raises NotVerified, Malformed, Unavailable, ConfigurationError."""
        self._refuse_unsupported(request, algorithms)
        message, nonce = seal(request, algorithms, self.authority)
        body = await self._transport.pki_operation(message, post="POSTPKIOperation" in self._offered())
        answer = unseal(body, nonce, request, self.authority)
        self._report(Check("signature of the reply", Verdict.VERIFIED, "made by the server's RA or CA key"))
        self._report(Check("transaction and nonce", Verdict.VERIFIED, "the reply repeats ours, so it answers us"))
        match answer.reply.status:
            case PkiStatus.PENDING:
                return Pending()
            case PkiStatus.FAILURE:
                return Refused(answer.reply.fail_info, answer.reply.fail_info_text)
            case PkiStatus.SUCCESS:
                return self._issued(request, answer.certificates)

    def _offered(self) -> frozenset[str]:
        return self.capabilities | (_IMPLIED if "SCEPStandard" in self.capabilities else frozenset())

    def _refuse_unsupported(self, request: Request, algorithms: Algorithms) -> None:
        """What the server does not offer is not tried: its FAILURE would say less."""
        cipher = "DES3" if algorithms.cipher is Cipher.DES3_CBC else "AES"
        for wanted in (_DIGEST_KEYWORDS[algorithms.digest], cipher):
            if wanted not in self._offered():
                offered = ", ".join(sorted(self.capabilities)) or "nothing"
                raise ConfigurationError(f"the server does not offer {wanted}; it offers {offered}")
        if request.message_type is MessageType.RENEWAL_REQ and "Renewal" not in self.capabilities:
            raise ConfigurationError(
                "the server does not offer renewal; its operator can switch it on "
                "(`scep-server integration set NAME --option renewal=on`), or enrol anew with the challenge"
            )

    def _issued(self, request: Request, received: tuple[x509.Certificate, ...]) -> Issued:
        """The certificate of our key among those received, checked against what we asked for."""
        ours = [one for one in received if one.public_key() == request.csr.public_key()]
        if len(ours) != 1:
            raise NotVerified(f"the reply holds {len(ours)} certificates for our key where it must hold one")
        certificate = ours[0]
        self._report(Check("public key", Verdict.VERIFIED, "the certificate is for the key we made"))
        path = self.authority.path(certificate, self._clock())
        detail = " <- ".join(one.subject.rfc4514_string() for one in path[1:])
        self._report(Check("certificate", Verdict.VERIFIED, f"signed by {detail}; all within their time"))
        asked, got = request.csr.subject.rfc4514_string(), certificate.subject.rfc4514_string()
        if asked == got:
            self._report(Check("subject", Verdict.VERIFIED, got or "empty, as asked"))
        else:
            self._report(Check("subject", Verdict.DIFFERS, f"the server made {got!r}, we asked for {asked!r}"))
        return Issued(certificate, tuple(self.authority.chain()))


async def get_capabilities(transport: Transport) -> frozenset[str]:
    """The keywords of GetCACaps, exact case (RFC 8894 section 3.5). Raises Unavailable, Malformed."""
    answer = await transport.get("GetCACaps")
    try:
        return frozenset(line.strip() for line in answer.body.decode("ascii").splitlines() if line.strip())
    except UnicodeDecodeError:
        raise Malformed("GetCACaps was not answered with text") from None


async def get_authority(
    transport: Transport, fingerprint: str | None, report: Report, clock: Callable[[], datetime] = _now
) -> Authority:
    """GetCACert, sorted and verified as far as a fingerprint allows. Raises NotVerified, Malformed, Unavailable."""
    authority = read_authority(await transport.get("GetCACert"), fingerprint)
    anchor, name = authority.anchor, authority.anchor.subject.rfc4514_string()
    if fingerprint is None:
        detail = f"none was given; compare {sha256(anchor)} ({name}) with what the administrator says"
        report(Check("CA fingerprint", Verdict.NOT_CHECKED, detail))
    else:
        report(Check("CA fingerprint", Verdict.VERIFIED, f"is that of {name}"))
    authority.path(authority.recipient, clock())
    authority.path(authority.issuer, clock())
    report(Check("CA and RA certificates", Verdict.VERIFIED, f"chain to {name}; all within their time"))
    return authority
