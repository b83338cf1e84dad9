"""Values to parameters and rows to values. The only file that knows how a time, a serial or a text is stored."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from cryptography.x509 import ReasonFlags, load_der_x509_certificate

from scep_server.errors import Fault, LedgerUnusable
from scep_server.types import (
    UNBOUND,
    Certificate,
    Crl,
    Entry,
    EntryState,
    Integration,
    IntegrationOptions,
    MessageType,
    NameBinding,
    Notice,
    NoticeKind,
    OpenChallenge,
    Opening,
    Prepared,
    RevokedCertificate,
)

Parameters = dict[str, Any]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

KEY_LIMIT: Final = 255
"""Characters of a transaction id kept as they are; an index row of PostgreSQL ends at 2,700 bytes."""
TEXT_LIMIT: Final = 4096

_STATES = {state.value: state for state in EntryState}
_TYPES = {int(kind): kind for kind in MessageType}
_REASONS = {reason.value: reason for reason in ReasonFlags}


def micros(at: datetime) -> int:
    """Microseconds since 1970 UTC. TypeError for a naive datetime."""
    return (at - EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The time of a stored number."""
    # Five times as fast, and exact as long as a double holds the microseconds (till 2096).
    if 0 <= value < 4_000_000_000_000_000:
        return datetime.fromtimestamp(value / 1_000_000, UTC)
    return EPOCH + timedelta(microseconds=value)


def serial_text(serial: int) -> str:
    """Lower-case hex; a negative or huge serial (R67) is only ever looked for, never stored."""
    return f"{serial:x}"


def transaction_key(transaction_id: str) -> str:
    """The transaction id as stored and looked up.

    Anything that a text column or an index cannot take (NUL, broken UTF-8, extreme length) goes by its hash.
    """
    if len(transaction_id) <= KEY_LIMIT and transaction_id.isprintable():
        return transaction_id
    digest = hashlib.sha256(transaction_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{storable(transaction_id[:64])}#sha256:{digest}"


def storable(text: str) -> str:
    """Text that both databases take and give back alike: no NUL, no lone surrogate, bounded."""
    if len(text) > TEXT_LIMIT:
        text = text[:TEXT_LIMIT] + "[cut]"
    if text.isprintable():
        return text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def inner_tbs(certificate: bytes) -> bytes:
    """The tbsCertificate inside a certificate, byte for byte (X.690 section 8.1). ValueError when it has none."""
    start = _content_start(certificate, 0)
    content = _content_start(certificate, start)
    length = certificate[start + 1]
    if length & 0x80:
        length = int.from_bytes(certificate[start + 2 : start + 2 + (length & 0x7F)], "big")
    end = content + length
    if end > len(certificate):
        raise ValueError("certificate is cut short")
    return certificate[start:end]


def _content_start(data: bytes, offset: int) -> int:
    if len(data) < offset + 2 or data[offset] != 0x30:
        raise ValueError("certificate is not a SEQUENCE")
    return offset + 2 + (data[offset + 1] & 0x7F if data[offset + 1] & 0x80 else 0)


def opening_parameters(opening: Opening) -> Parameters:
    """Parameters of `open_entry`."""
    prepared = opening.prepared
    return {
        "state": "pending" if prepared is None else "intended",
        "integration": opening.integration,
        "transaction_id": transaction_key(opening.transaction_id),
        "message_type": int(opening.message_type),
        "signer_key": opening.signer_key,
        "request_key": opening.request_key,
        "request_hash": opening.request_hash,
        "subject": storable(opening.subject),
        "requested_at": micros(opening.received_at),
        "pickup_until": micros(opening.pickup_until),
        "source": storable(opening.source),
        "reference": storable(opening.reference),
        "request": opening.request,
        "renews": opening.renews,
        **(prepared_parameters(prepared) if prepared is not None else _NOT_PREPARED),
    }


_NOT_PREPARED: Final[Mapping[str, None]] = dict.fromkeys(
    ("issuer_id", "serial", "crl_shard", "not_before", "not_after", "tbs")
)


def prepared_parameters(prepared: Prepared) -> Parameters:
    """The columns that an intent fills."""
    return {
        "issuer_id": prepared.issuer_id,
        "serial": serial_text(prepared.serial),
        "crl_shard": prepared.crl_shard,
        "not_before": micros(prepared.not_before),
        "not_after": micros(prepared.not_after),
        "tbs": prepared.tbs,
    }


def opened_entry(entry_id: int, opening: Opening, stored: Parameters) -> Entry:
    """The entry that `open_entry` just made, without reading it back."""
    prepared = opening.prepared
    return Entry(
        id=entry_id,
        state=EntryState.PENDING if prepared is None else EntryState.INTENDED,
        integration=opening.integration,
        transaction_id=stored["transaction_id"],
        message_type=opening.message_type,
        signer_key=opening.signer_key,
        request_key=opening.request_key,
        request_hash=opening.request_hash,
        subject=stored["subject"],
        requested_at=opening.received_at,
        pickup_until=opening.pickup_until,
        source=stored["source"],
        reference=stored["reference"],
        issuer_id=prepared.issuer_id if prepared else None,
        serial=prepared.serial if prepared else None,
        crl_shard=prepared.crl_shard if prepared else None,
        not_before=prepared.not_before if prepared else None,
        not_after=prepared.not_after if prepared else None,
        tbs=prepared.tbs if prepared else None,
        renews=opening.renews,
    )


def signed_entry(opened: Entry, signed: Parameters, issued_at: datetime) -> Entry:
    """The entry that `sign_intended` just signed, without reading it back."""
    fields = dict(zip(_ENTRY_FIELDS, _entry_values(opened), strict=True))
    fields.update(state=_STATES[signed["new_state"]], certificate=signed["certificate"], issued_at=issued_at)
    return Entry(**fields)


_ENTRY_FIELDS: Final = tuple(field.name for field in dataclasses.fields(Entry))
_entry_values: Final = attrgetter(*_ENTRY_FIELDS)


def entry_of(row: Sequence[Any]) -> Entry:
    """An entry from a row of ENTRY_COLUMNS. The tbs of a signed entry is read out of its certificate."""
    (
        entry_id, state, integration, transaction_id, message_type, signer_key, request_key, request_hash, subject,
        requested_at, pickup_until, source, reference, issuer_id, serial, crl_shard, not_before, not_after, tbs,
        certificate, issued_at, renews, revoked_at, revocation_reason, note,
    ) = row  # fmt: skip
    return Entry(
        id=entry_id,
        state=_STATES[state],
        integration=integration,
        transaction_id=transaction_id,
        message_type=_TYPES[message_type],
        signer_key=signer_key,
        request_key=request_key,
        request_hash=request_hash,
        subject=subject,
        requested_at=moment(requested_at),
        pickup_until=moment(pickup_until),
        source=source,
        reference=reference,
        issuer_id=issuer_id,
        serial=None if serial is None else int(serial, 16),
        crl_shard=crl_shard,
        not_before=None if not_before is None else moment(not_before),
        not_after=None if not_after is None else moment(not_after),
        tbs=tbs if certificate is None else inner_tbs(certificate),
        certificate=certificate,
        issued_at=None if issued_at is None else moment(issued_at),
        renews=renews,
        revoked_at=None if revoked_at is None else moment(revoked_at),
        revocation_reason=None if revocation_reason is None else _REASONS[revocation_reason],
        note=note,
    )


def revoked_of(row: Sequence[Any]) -> RevokedCertificate:
    """One CRL line."""
    serial, revoked_at, reason = row
    return RevokedCertificate(serial=int(serial, 16), revoked_at=moment(revoked_at), reason=_REASONS[reason])


def crl_parameters(crl: Crl, mark: int) -> Parameters:
    """Parameters of `add_crl`."""
    return {
        "issuer_id": crl.issuer_id,
        "shard": crl.shard,
        "number": crl.number,
        "this_update": micros(crl.this_update),
        "next_update": micros(crl.next_update),
        "mark": mark,
        "der": crl.der,
    }


def crl_of(row: Sequence[Any]) -> tuple[Crl, int]:
    """A CRL and the mark it covers."""
    issuer_id, shard, number, this_update, next_update, mark, der = row
    return Crl(issuer_id, shard, number, moment(this_update), moment(next_update), der), mark


def integration_parameters(integration: Integration) -> Parameters:
    """Parameters of `add_integration`."""
    options = dataclasses.asdict(integration.options)
    return {
        "name": integration.name,
        "challenge": integration.challenge,
        "options": json.dumps({name: _json(value) for name, value in options.items()}, sort_keys=True),
        "settings": json.dumps(dict(integration.settings), sort_keys=True),
        "enabled": int(integration.enabled),
        "version": 1,
        "created_at": micros(integration.created_at),
        "updated_at": micros(integration.updated_at),
    }


def _json(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


def integration_of(row: Sequence[Any]) -> Integration:
    """An integration. LedgerUnusable for an option this program does not know: guessing could open a door."""
    name, challenge, options_text, settings, enabled, version, created_at, updated_at = row
    options = json.loads(options_text)
    unknown = options.keys() - {field.name for field in dataclasses.fields(IntegrationOptions)}
    if unknown:
        raise LedgerUnusable(
            f"integration {name} has options this program does not know ({', '.join(sorted(unknown))}): upgrade it"
        )
    if "san_types" in options:
        options["san_types"] = frozenset(options["san_types"])
    return Integration(
        name=name,
        challenge=challenge,
        options=IntegrationOptions(**options),
        settings=json.loads(settings),
        enabled=bool(enabled),
        version=version,
        created_at=moment(created_at),
        updated_at=moment(updated_at),
    )


def challenge_row(challenge: OpenChallenge) -> Sequence[Any]:
    """A row of open_challenge, for `add_challenge`."""
    times = micros(challenge.minted_at), micros(challenge.expires_at)
    binding = json.dumps(dataclasses.asdict(challenge.binding), sort_keys=True) if challenge.binding else ""
    return (challenge.mac, challenge.integration, *times, challenge.uses, binding, challenge.sealed, 0)


def lookup_rows(challenge: OpenChallenge) -> list[Sequence[Any]]:
    """Rows of challenge_lookup, for `add_lookup`."""
    minted_at = micros(challenge.minted_at)
    return [(lookup, minted_at, challenge.mac) for lookup in challenge.lookups]


def challenge_of(row: Sequence[Any]) -> OpenChallenge:
    """An open challenge, without its lookups. Fault for a binding this program does not know: it is not let through."""
    mac, integration, minted_at, expires_at, uses, binding, sealed = row
    return OpenChallenge(
        integration=integration,
        mac=mac,
        minted_at=moment(minted_at),
        expires_at=moment(expires_at),
        uses=uses,
        binding=_binding_of(binding),
        sealed=sealed,
    )


def _binding_of(text: str) -> NameBinding:
    if not text:
        return UNBOUND
    names = json.loads(text)
    unknown = names.keys() - {field.name for field in dataclasses.fields(NameBinding)}
    if unknown:
        raise Fault(f"a challenge is bound to what this program does not know ({', '.join(sorted(unknown))})")
    return NameBinding(
        subject=names["subject"],
        sans=None if names["sans"] is None else tuple(names["sans"]),
        device_ids=tuple(names["device_ids"]),
    )


def notice_parameters(notice: Notice, entry_id: int | None) -> Parameters:
    """Parameters of `add_notice`. entry_id: of the operation, for a notice that names none."""
    return {
        "id": notice.id,
        "integration": notice.integration,
        "kind": notice.kind.value,
        "entry_id": entry_id if notice.entry_id is None else notice.entry_id,
        "at": micros(notice.at),
        "transaction_id": storable(notice.transaction_id),
        "subject": storable(notice.subject),
        "reason": storable(notice.reason),
        "due_at": micros(notice.at),
        "tries": notice.tries,
    }


def notice_of(row: Sequence[Any]) -> Notice:
    """A notice, with the certificate of its entry."""
    notice_id, integration, kind, entry_id, at, transaction_id, subject, reason, tries, *recorded = row
    return Notice(
        id=notice_id,
        kind=NoticeKind(kind),
        integration=integration,
        at=moment(at),
        transaction_id=transaction_id,
        subject=subject,
        entry_id=entry_id,
        reason=reason,
        certificate=None if recorded[0] is None else _certificate_of(recorded),
        tries=tries,
    )


def _certificate_of(row: Sequence[Any]) -> Certificate:
    der, issuer_id, serial, not_before, not_after = row
    subject = load_der_x509_certificate(der).subject.public_bytes()
    return Certificate(der, issuer_id, int(serial, 16), subject, moment(not_before), moment(not_after))
