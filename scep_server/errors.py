"""The three error roots, and the fixed list of reasons a client may be told.

Malformed   no CertRep can be built: HTTP 400.
Refusal     CertRep FAILURE with a failInfo: HTTP 200 (RFC 8894 section 4.3.1).
Fault       ours, transient: HTTP 503 with Retry-After, never a FAILURE, because devices give up on FAILURE.

web/errors.py holds the one table from these to HTTP.
"""

from __future__ import annotations

import enum

from scep_server.types import FailInfo, ReplyTo


class Reason(enum.Enum):
    """Why a request was refused: a stable code for audit and metrics, and the only texts sent as failInfoText."""

    __hash__ = object.__hash__  # see types.PkiStatus

    ALGORITHM = ("algorithm_refused", FailInfo.BAD_ALG, "Algorithm not supported or not permitted")
    SIGNATURE = ("bad_signature", FailInfo.BAD_MESSAGE_CHECK, "Message signature could not be verified")
    MESSAGE_TYPE = ("message_type", FailInfo.BAD_REQUEST, "Message type not supported")
    STRUCTURE = ("structure", FailInfo.BAD_REQUEST, "Message is not a well-formed SCEP request")
    UNREADABLE = ("unreadable", FailInfo.BAD_REQUEST, "Request content could not be read")
    TIME = ("signing_time", FailInfo.BAD_TIME, "Signing time is outside the permitted window")
    CHALLENGE = ("challenge", FailInfo.BAD_REQUEST, "Challenge was not accepted")
    CHALLENGE_SPENT = ("challenge_spent", FailInfo.BAD_REQUEST, "Challenge was not accepted")
    CHALLENGE_EXPIRED = ("challenge_expired", FailInfo.BAD_REQUEST, "Challenge was not accepted")
    CHALLENGE_NAMES = ("challenge_names", FailInfo.BAD_REQUEST, "Challenge was not accepted")
    DENIED = ("denied", FailInfo.BAD_REQUEST, "Request was denied")
    UNCONFIRMED = ("unconfirmed", FailInfo.BAD_REQUEST, "Request was denied")
    KEY = ("key_refused", FailInfo.BAD_REQUEST, "Public key is not acceptable")
    SIGNER_KEY = ("signer_key", FailInfo.BAD_REQUEST, "Signer key does not match the request")
    SUBJECT = ("subject_refused", FailInfo.BAD_REQUEST, "Subject name is not acceptable")
    SAN = ("san_refused", FailInfo.BAD_REQUEST, "Subject alternative name is not acceptable")
    EXTENSION = ("extension_refused", FailInfo.BAD_REQUEST, "Requested extension is not acceptable")
    TRANSACTION = ("transaction", FailInfo.BAD_REQUEST, "Transaction was not accepted")
    RENEWAL = ("renewal_refused", FailInfo.BAD_REQUEST, "Renewal was not accepted")
    REJECTED = ("rejected", FailInfo.BAD_REQUEST, "Request was rejected")
    DISABLED = ("integration_disabled", FailInfo.BAD_REQUEST, "Enrolment is disabled")
    NO_SUCH_CERTIFICATE = ("no_such_certificate", FailInfo.BAD_CERT_ID, "No matching certificate or transaction")

    def __init__(self, code: str, fail_info: FailInfo, text: str) -> None:
        self.code = code
        self.fail_info = fail_info
        self.text = text


class ScepServerError(Exception):
    """Root of all errors of this project."""


class Malformed(ScepServerError):
    """The bytes are no SCEP request we could answer with a CertRep. The text is for the log, not for the client."""


class TooLarge(Malformed):
    """A size limit was passed (N9): HTTP 413, or 414 for a request line."""


class Refusal(ScepServerError):
    """A decided no.

    reason: from the fixed list; its text is all a client is told.
    detail: for the audit log; never sent.
    reply_to: set by the codec as soon as a CertRep can be addressed.
    security: True raises a security event (replays, spent challenges, forged renewals).
    guess: True counts as a wrong challenge (N18); set by the reason, or by whoever tried a password.
    """

    def __init__(
        self, reason: Reason, detail: str = "", *, reply_to: ReplyTo | None = None, security: bool = False
    ) -> None:
        super().__init__(f"{reason.code}: {detail}" if detail else reason.code)
        self.reason = reason
        self.detail = detail
        self.reply_to = reply_to
        self.security = security
        self.guess = reason is Reason.CHALLENGE

    @property
    def fail_info(self) -> FailInfo:
        """FailInfo to answer with."""
        return self.reason.fail_info


class TooManyAttempts(ScepServerError):
    """Wrong challenges (N18) or queries (R68) of this source passed their limit: HTTP 429 with Retry-After seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts, retry after {retry_after} s")
        self.retry_after = retry_after


class Fault(ScepServerError):
    """We cannot tell or cannot do it now: HTTP 503 with Retry-After seconds. The same request may be sent again.

    part: what failed, for metrics: `ledger`, `cache`, `plugin`, `signer`, `busy` or `other`.
    retry_after: seconds, where the fault itself knows; None leaves it to the listener's setting.
    integration: whose request it was, for the log; set by whoever knows.
    """

    part = "other"

    def __init__(self, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.integration = ""


class LedgerUnavailable(Fault):
    """The database cannot be reached, is full, locked beyond the time-out, or read-only."""

    part = "ledger"


class CacheUnavailable(Fault):
    """Redis cannot be reached, is too slow, refuses what it is asked, or answers nonsense (F16)."""

    part = "cache"


class PluginFault(Fault):
    """A challenge plugin cannot tell, raised what it should not, or took too long."""

    part = "plugin"


class OutboundFault(PluginFault):
    """A service that a plugin asks cannot be reached, is not trusted, or does not answer in time.

    kind: `name`, `refused`, `tls`, `timeout`, `cut`, `too_large`, `proxy` or `other`; the text names host and cause.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class SignerFault(Fault):
    """A private key is out of reach or gave a wrong signature, or its certificate has ended."""

    part = "signer"


class LedgerUnusable(ScepServerError):
    """The database is missing, foreign, newer than this program, or corrupt (F5). The text says what to do."""


class ChallengesFull(ScepServerError):
    """An integration has as many unspent one-time challenges as its operator allows."""


class SerialCollision(ScepServerError):
    """The serial is already in the ledger; the caller prepares again with a new one (K1)."""


class ConfigurationError(ScepServerError):
    """A setting is missing or wrong. The text names the key, the cause and the remedy."""
