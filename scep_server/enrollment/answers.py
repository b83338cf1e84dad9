"""CertReps: the codec builds the bytes, the recipient's key signs them. Blocking; called on pool threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from scep_server.codec import (
    Unsigned,
    build_crl_success,
    build_failure,
    build_pending,
    build_success,
    finish_reply,
)
from scep_server.errors import Refusal
from scep_server.interfaces import RaKey
from scep_server.metrics import Metrics
from scep_server.types import ReplyEncryption, ReplyTo


class Answers:
    """Signs replies as the SCEP recipient (RFC 8894 section 3.3.2)."""

    def __init__(
        self, ra: RaKey, chain: Sequence[bytes], metrics: Metrics, randomness: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._ra = ra
        self._metrics = metrics
        self._chain = tuple(chain)
        self._randomness = randomness

    def success(
        self, reply_to: ReplyTo, certificate: bytes, encryption: ReplyEncryption, *, with_chain: bool = False
    ) -> bytes:
        """SUCCESS with the certificate first; the chain follows where the integration wants it (R63)."""
        certificates = (certificate, *self._chain) if with_chain else (certificate,)
        self._metrics.replies.inc("success")
        return self._signed(build_success(reply_to, certificates, encryption, randomness=self._randomness))

    def crl(self, reply_to: ReplyTo, crl: bytes, encryption: ReplyEncryption) -> bytes:
        """SUCCESS with a CRL and no certificate (R66)."""
        self._metrics.replies.inc("success")
        return self._signed(build_crl_success(reply_to, crl, encryption, randomness=self._randomness))

    def pending(self, reply_to: ReplyTo) -> bytes:
        """PENDING: the client polls."""
        self._metrics.replies.inc("pending")
        return self._signed(build_pending(reply_to, randomness=self._randomness))

    def failure(self, reply_to: ReplyTo, refusal: Refusal) -> bytes:
        """FAILURE with the reason's fixed text; the detail stays here (R39)."""
        self._metrics.replies.inc("failure")
        return self._signed(
            build_failure(reply_to, refusal.fail_info, refusal.reason.text, randomness=self._randomness)
        )

    def _signed(self, unsigned: Unsigned) -> bytes:
        return finish_reply(unsigned, self._ra.certificate.der, self._ra.sign(unsigned.to_sign, unsigned.digest))
