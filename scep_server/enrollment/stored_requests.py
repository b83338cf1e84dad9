"""Requests that must outlive the answer: pending ones, and those whose plugin still has to confirm.

A PKCS#10 carries its challenge, so it is encrypted under the key file before it enters the ledger (N18).
"""

from __future__ import annotations

from scep_server.codec.csr import parse_csr
from scep_server.errors import Fault
from scep_server.interfaces import KeyFile, Listings
from scep_server.types import Attempt, CertificationRequest, Entry, Source


class StoredRequests:
    """Seals and opens the CSR column of the ledger."""

    def __init__(self, keys: KeyFile, listings: Listings) -> None:
        self._keys = keys
        self._listings = listings

    def seal(self, integration: str, request: CertificationRequest, san: bytes | None) -> bytes:
        """What the ledger keeps of the CSR, and of the alternative names that it was granted."""
        context = _context(integration, request.info_hash)
        return f"{self._keys.encrypt(request.der, context)} {self._keys.encrypt(san or b'', _names(context))}".encode()

    def open(self, entry: Entry) -> CertificationRequest:
        """Blocking read. The CSR of an entry. Fault when the entry kept none."""
        sealed, _, _ = self._kept(entry).partition(" ")
        der = self._keys.decrypt(sealed, _context(entry.integration, entry.request_hash))
        return parse_csr(der, allow_sha1=True)

    def was_granted(self, entry: Entry, san: bytes | None) -> bool:
        """Blocking read. Whether these are the alternative names that the request was granted when it came: what it was
        held against (a challenge's names, the certificate it renews) is not known any more. True for an entry that does
        not tell, which is one of a version that bound no names.
        """
        _, _, sealed = self._kept(entry).partition(" ")
        if not sealed:
            return True
        return self._keys.decrypt(sealed, _names(_context(entry.integration, entry.request_hash))) == (san or b"")

    def _kept(self, entry: Entry) -> str:
        kept = entry if entry.request else self._listings.entry(entry.id)
        if kept is None or not kept.request:
            raise Fault(f"entry {entry.id} kept no request")
        return kept.request.decode()

    def attempt(self, entry: Entry, source: Source) -> Attempt:
        """Blocking read. The entry's request as a challenge plugin saw it."""
        return Attempt(
            integration=entry.integration,
            transaction_id=entry.transaction_id,
            message_type=entry.message_type,
            request=self.open(entry),
            source=source,
            received_at=entry.requested_at,
            renews=entry.renews is not None,
        )


def _context(integration: str, request_hash: bytes) -> str:
    # Not the transaction id: the ledger keeps a long or unprintable one in another form.
    return f"request:{integration}:{request_hash.hex()}"


def _names(context: str) -> str:
    return f"{context}:names"
