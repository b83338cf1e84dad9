"""An approval certifies the names that were judged when the request came, whatever was switched meanwhile (N16)."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography import x509

from scep_server import plugins
from scep_server.enrollment.registry import activate
from scep_server.errors import Refusal
from scep_server.types import Attempt, Certificate, EntryState, Grant, NameBinding
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import SAN, Device, certification_request, extension, rsa_key
from tests.enrollment.conftest import Walk

WANTED = x509.SubjectAlternativeName(
    [x509.DNSName("laptop.example"), x509.RFC822Name("boss@example.com")]
).public_bytes()
BOUND = NameBinding("CN=laptop.example,O=Example", ("dns:laptop.example",))


@dataclasses.dataclass
class Bound:
    """Says yes to one host name, and leaves the rest to an operator."""

    grant: Grant

    async def redeem(self, attempt: Attempt) -> Grant:
        return self.grant

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Nobody waits."""

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Nobody is told."""


async def options(walk: Walk, **written: str) -> None:
    await walk.site.integrations.set("default", written)
    walk.site.activate()


async def waiting(walk: Walk, binding: NameBinding) -> int:
    """A request that waits for its approval while mail addresses are not certified."""
    await options(walk, san_types="dns")
    integration = walk.site.integrations.show("default")
    judge = plugins.GuardedPlugin("bound", Bound(Grant(pending=True, binding=binding)))
    walk.site.registry.replace({"default": activate(integration, judge)})
    device = Device.named("laptop.example", rsa_key(1))
    csr = certification_request(device.key, device.subject, challenge="c", extensions=[extension(SAN, WANTED)])
    asked = pkcs_req(device, walk.ra, None, csr=csr, transaction_id="t-1")
    assert (await walk.send(asked)).status == "PENDING"
    (entry,) = walk.site.ledger.entries()
    return entry.id


async def test_an_approval_adds_no_name_that_the_challenge_was_not_held_against(walk: Walk) -> None:
    entry_id = await waiting(walk, BOUND)
    await options(walk, san_types="dns,email")
    with pytest.raises(Refusal, match="other alternative names"):
        await walk.site.approve(entry_id)
    entry = walk.site.ledger.entry(entry_id)
    assert entry is not None
    assert (entry.state, entry.certificate) == (EntryState.PENDING, None)


async def test_an_approval_certifies_what_was_judged(walk: Walk) -> None:
    entry_id = await waiting(walk, BOUND)
    approved = await walk.site.approve(entry_id)
    assert approved.certificate is not None
    certificate = x509.load_der_x509_certificate(approved.certificate)
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(san) == [x509.DNSName("laptop.example")]


async def test_a_request_of_an_older_version_can_be_approved(walk: Walk) -> None:
    entry_id = await waiting(walk, BOUND)
    stored = walk.site.ledger.entry(entry_id)
    assert stored is not None
    assert stored.request is not None
    older = dataclasses.replace(stored, request=stored.request.partition(b" ")[0])
    assert walk.site.stored.was_granted(older, b"anything"), "it does not tell"
    assert walk.site.stored.open(older).der == walk.site.stored.open(stored).der
    assert not walk.site.stored.was_granted(stored, b"anything")
