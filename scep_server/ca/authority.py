"""The issuing CA with its key in memory: prepares a tbsCertificate, then signs exactly what was recorded (K2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509

from scep_server.ca import crl, templates
from scep_server.ca.signer import SoftwareSigner
from scep_server.ca.tbs import TbsFields, certificate_value, issuer_id, key_identifier, read_tbs, tbs_of
from scep_server.errors import ConfigurationError, SignerFault
from scep_server.interfaces import Clock
from scep_server.policy.lint import LintIssuer, lint_tbs
from scep_server.types import Certificate, Crl, Intent, IssueOrder, Prepared, RevokedCertificate

Randomness = Callable[[int], bytes]
Lint = Callable[[bytes, IssueOrder, LintIssuer], None]
"""Compares a tbsCertificate with its order and issuer before it is recorded; raises Refusal for a fault."""

_RANDOM_OCTETS = 16
_SERIAL_START = b"\x53"
"""Fixed first octet of a serial: positive without a padding zero, and two hex digits, so all tools print it alike."""
_TROUBLE_RETRY = 3600
"""Seconds after which a device may ask again when only an operator can help."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


class SoftwareAuthority:
    """One issuing CA (interfaces.CertificateAuthority).

    chain: issuing certificate first, root last, DER. public_url: what devices see, without a slash at its end.
    crl_shards: how many CRLs share the revocations; fixed when the CA is made, because certificates name their CRL.
    lint: called with every tbs before it is recorded. randomness and clock are injected for tests.
    """

    def __init__(
        self,
        signer: SoftwareSigner,
        chain: Sequence[bytes],
        public_url: str,
        *,
        crl_shards: int = 1,
        lint: Lint = lint_tbs,
        randomness: Randomness = os.urandom,
        clock: Clock = utc_now,
    ) -> None:
        fields = read_tbs(tbs_of(chain[0]))
        identifier = subject_key_identifier(chain[0])
        if fields.spki != signer.spki:
            raise ConfigurationError("the issuing key does not belong to the issuing certificate")
        self.issuer_id = issuer_id(fields.spki)
        self.crl_shards = crl_shards
        self._signer = signer
        self._issuer = fields
        self._chain = chain_values(chain)
        self._lint = lint
        self._lint_issuer = LintIssuer(fields.subject, identifier, fields.not_before, fields.not_after)
        self._randomness = randomness
        self._clock = clock
        urls = [templates.crl_url(public_url, self.issuer_id, shard) for shard in range(crl_shards)]
        self._template = templates.DeviceTemplate(
            algorithm=signer.algorithm,
            issuer=fields.subject,
            issuer_key_identifier=identifier,
            crl_urls=urls,
            issuer_certificate_url=templates.issuer_url(public_url, self.issuer_id),
        )
        self._authority_key_identifier = templates.authority_key_identifier(identifier)
        self._distribution_points = [crl.issuing_distribution_point(url) if crl_shards > 1 else b"" for url in urls]

    def chain(self) -> Sequence[Certificate]:
        """Issuing CA first, root last."""
        return self._chain

    def prepare(self, order: IssueOrder) -> Prepared:
        """Blocking, no signature: the tbsCertificate to be recorded.

        notBefore and notAfter are cut to the issuer's own (R77, T14). Refusal when the lint finds a fault,
        SignerFault when the issuing certificate has ended.
        """
        self._check_validity()
        not_before = max(order.not_before, self._issuer.not_before).replace(microsecond=0)
        not_after = min(order.not_after, self._issuer.not_after).replace(microsecond=0)
        if not_after <= not_before:
            raise SignerFault("no time is left to issue for: the wanted validity is outside the issuing certificate's")
        serial, shard = self._serial()
        tbs = self._template.tbs(
            serial=serial,
            not_before=not_before,
            not_after=not_after,
            subject=order.subject,
            spki=order.spki,
            san=order.san,
            shard=shard,
        )
        self._lint(tbs, order, self._lint_issuer)
        return Prepared(tbs, self.issuer_id, serial, shard, order.subject, not_before, not_after)

    def issue(self, intent: Intent) -> Certificate:
        """Blocking: sign the recorded tbs, byte for byte, and verify the signature.

        SignerFault when the issuing certificate has ended, the intent is another issuer's, or the key fails.
        RuntimeError when the intent was used before.
        """
        self._check_validity()
        if intent.issuer_id != self.issuer_id:
            raise SignerFault(f"entry {intent.entry_id} belongs to issuer {intent.issuer_id}, which is not loaded here")
        tbs = intent.take()
        fields = self._read_own(tbs, intent)
        return Certificate(
            der=self._signer.sign(tbs),
            issuer_id=self.issuer_id,
            serial=fields.serial,
            subject=fields.subject,
            not_before=fields.not_before,
            not_after=fields.not_after,
        )

    def sign_crl(
        self,
        shard: int,
        number: int,
        this_update: datetime,
        next_update: datetime,
        entries: Iterable[RevokedCertificate],
    ) -> Crl:
        """Blocking: a CRL v2 with AKI and CRLNumber; critical IDP when there are several shards (R79, R80).

        SignerFault when the issuing certificate has ended or the key fails.
        """
        self._check_validity()
        tbs = crl.tbs_cert_list(
            algorithm=self._signer.algorithm,
            issuer=self._issuer.subject,
            number=number,
            this_update=this_update,
            next_update=next_update,
            entries=entries,
            authority_key_identifier=self._authority_key_identifier,
            distribution_point=self._distribution_points[shard],
        )
        this_update, next_update = this_update.replace(microsecond=0), next_update.replace(microsecond=0)
        return Crl(self.issuer_id, shard, number, this_update, next_update, self._signer.sign(tbs))

    def _check_validity(self) -> None:
        if self._clock() >= self._issuer.not_after:
            raise SignerFault(
                f"the issuing certificate ended on {self._issuer.not_after:%Y-%m-%d %H:%M:%S} UTC; a new one is needed "
                "before anything can be issued",
                retry_after=_TROUBLE_RETRY,
            )

    def _serial(self) -> tuple[int, int]:
        """A serial and its CRL shard, both from the same 128 random bits (R76, K7)."""
        octets = self._randomness(_RANDOM_OCTETS)
        return int.from_bytes(_SERIAL_START + octets, "big"), int.from_bytes(octets[8:], "big") % self.crl_shards

    def _read_own(self, tbs: bytes, intent: Intent) -> TbsFields:
        """Fields of a recorded tbs. SignerFault when it is none of ours: a changed row must not get a signature."""
        try:
            fields = read_tbs(tbs)
        except ValueError as error:
            raise SignerFault(
                f"entry {intent.entry_id} holds no tbsCertificate: {error}", retry_after=_TROUBLE_RETRY
            ) from None
        expected = (intent.serial, self._signer.algorithm, self._issuer.subject)
        if (fields.serial, fields.signature, fields.issuer) != expected or fields.not_after > self._issuer.not_after:
            raise SignerFault(
                f"entry {intent.entry_id} holds a tbsCertificate that is not ours", retry_after=_TROUBLE_RETRY
            )
        return fields


def subject_key_identifier(certificate_der: bytes) -> bytes:
    """SubjectKeyIdentifier of a CA certificate; method 1 over its key where an imported one has none."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return key_identifier(read_tbs(tbs_of(certificate_der)).spki)


def chain_values(chain: Sequence[bytes]) -> tuple[Certificate, ...]:
    """Each certificate with the issuer_id of the next; the last one is self-signed."""
    issuers = [issuer_id(read_tbs(tbs_of(der)).spki) for der in (*chain[1:], chain[-1])]
    return tuple(certificate_value(der, issuer) for der, issuer in zip(chain, issuers, strict=True))
