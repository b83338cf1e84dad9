"""What a minted challenge opens, and what it does not; recovering it for clients that encrypt under it (R49, R50)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from challenge_plugins.dynamic import PLUGIN
from challenge_plugins.dynamic.minting import ChallengeKeys
from scep_server.errors import ConfigurationError, PluginFault, Reason, Refusal
from scep_server.types import Minted, MintOrder, NameBinding, PasswordHint
from tests.contracts.ledger_contract import opening
from tests.plugins.conftest import HouseUnderTest
from tests.plugins.one_time_requests import Minting

SUBJECT = "CN=device-1,O=Example"


def made(house: HouseUnderTest, name: str = "corp", **options: str) -> Minting:
    settings, shown = PLUGIN.create(name, options, house.keys)
    return Minting(house, "dynamic", settings, shown, name)


async def minted(dynamic: Minting, *orders: MintOrder) -> list[Minted]:
    return list(await dynamic.live().mint(orders or (MintOrder(),), "test"))


async def refused(dynamic: Minting, challenge: str | None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await dynamic.live().redeem(dynamic.attempt(challenge))
    assert not challenge or challenge not in str(caught.value)
    return caught.value


async def test_only_the_very_challenge_opens(house: HouseUnderTest) -> None:
    dynamic = made(house)
    (one,) = await minted(dynamic)
    right = one.challenge
    wrong = (
        None,
        "",
        right[:-1],
        right + "0",
        right.lower(),
        f" {right}",
        right + "\n",
        "0" * 32,
        "\uff21" + right[1:],
        "\ud800",
    )
    for challenge in (*wrong, "A" * 100_000):
        refusal = await refused(dynamic, challenge)
        assert (refusal.reason, refusal.guess) == (Reason.CHALLENGE, True)
    grant = await dynamic.live().redeem(dynamic.attempt(right))
    assert len(grant.consumes) == 1
    assert right.encode() not in grant.consumes[0]
    assert grant.reference == ""


async def test_challenge_opens_its_own_integration_only(house: HouseUnderTest) -> None:
    ours, other = made(house, "ours"), made(house, "other")
    (one,) = await minted(ours)
    assert (await refused(other, one.challenge)).reason is Reason.CHALLENGE
    assert await ours.live().redeem(ours.attempt(one.challenge))


def test_one_challenge_has_another_mac_in_each_integration(house: HouseUnderTest) -> None:
    """Spent rows are unique by MAC, so a challenge must not mean the same in two integrations."""
    ours, other = ChallengeKeys("ours", house.keys), ChallengeKeys("other", house.keys)
    assert ours.mac("A" * 32) == ours.mac("A" * 32) != other.mac("A" * 32)
    assert len({ours.mac("A"), ours.by_transaction("A"), ours.by_subject("A"), other.by_subject("A")}) == 4


async def test_expired_challenge_is_no_guess(house: HouseUnderTest) -> None:
    dynamic = made(house)
    (usual, short) = await minted(dynamic, MintOrder(), MintOrder(lifetime=timedelta(minutes=5)))
    house.clock.forward(minutes=5, seconds=-1)
    assert await dynamic.live().redeem(dynamic.attempt(short.challenge))
    house.clock.forward(seconds=1)
    refusal = await refused(dynamic, short.challenge)
    assert (refusal.reason, refusal.guess) == (Reason.CHALLENGE_EXPIRED, False)
    assert await dynamic.live().redeem(dynamic.attempt(usual.challenge))
    assert house.counted("dynamic", "expired") == 1


async def test_spent_challenge_is_left_to_the_ledger(house: HouseUnderTest) -> None:
    """The same device asks again and gets its entry; another gets a security event."""
    dynamic = made(house)
    (one,) = await minted(dynamic)
    grant = await dynamic.live().redeem(dynamic.attempt(one.challenge))
    first = opening("first", integration="corp", consumes=grant.consumes, uses=grant.uses)
    entry = (await house.ledger.open(first, [])).entry
    again = await dynamic.live().redeem(dynamic.attempt(one.challenge))
    assert again.consumes == grant.consumes
    assert house.counted("dynamic", "spent_before") == 1
    repeated = await house.ledger.open(opening("again", integration="corp", consumes=again.consumes), [])
    assert (repeated.existing, repeated.entry.id) == (True, entry.id)
    thief = opening("thief", integration="corp", consumes=again.consumes, signer_key=b"t" * 32)
    with pytest.raises(Refusal) as caught:
        await house.ledger.open(thief, [])
    assert (caught.value.reason, caught.value.security) == (Reason.CHALLENGE_SPENT, True)


async def test_binding_and_uses_are_the_house_s_to_enforce(house: HouseUnderTest) -> None:
    dynamic = made(house)
    binding = NameBinding(SUBJECT, ("dns:device-1.example",))
    (one,) = await minted(dynamic, MintOrder(binding=binding, uses=7))
    grant = await dynamic.live().redeem(dynamic.attempt(one.challenge))
    assert (grant.binding, grant.uses) == (binding, 7)


IMPOSSIBLE = [
    MintOrder(uses=0),
    MintOrder(uses=1001),
    MintOrder(lifetime=timedelta()),
    MintOrder(lifetime=timedelta(minutes=-1)),
    MintOrder(lifetime=timedelta(minutes=10081)),
    MintOrder(binding=NameBinding(subject="no name")),
    MintOrder(binding=NameBinding(sans=("host.example",))),
    MintOrder(binding=NameBinding(device_ids=("1",))),
    MintOrder(transaction_id="not kept"),
]


async def test_order_that_cannot_be_mints_nothing_of_its_batch(house: HouseUnderTest) -> None:
    dynamic = made(house)
    for order in IMPOSSIBLE:
        with pytest.raises(ConfigurationError):
            await minted(dynamic, MintOrder(), order)
    assert await dynamic.unspent() == 0


async def test_transaction_id_is_printable_and_bounded(house: HouseUnderTest) -> None:
    dynamic = made(house, kept_for_ec="on")
    for wrong in ("", " t", "t\n", "t\x00", "schl\u00fcssel", "t" * 256):
        with pytest.raises(ConfigurationError, match="transaction id"):
            await minted(dynamic, MintOrder(transaction_id=wrong))
    await minted(dynamic, MintOrder(transaction_id="t" * 255))


async def test_a_batch_is_bounded(house: HouseUnderTest) -> None:
    for orders in ([], [MintOrder()] * 1001):
        with pytest.raises(ConfigurationError, match="1 to 1000"):
            await made(house).live().mint(orders, "test")


# --- clients whose key cannot decrypt


async def test_kept_challenge_is_found_by_transaction_id_or_subject(house: HouseUnderTest) -> None:
    dynamic = made(house, kept_for_ec="on")
    host = house.host()
    by_id, by_subject = await minted(
        dynamic, MintOrder(transaction_id="T-1"), MintOrder(binding=NameBinding(subject=SUBJECT))
    )
    spelt = host.canonical_subject("o=example, cn=DEVICE-1")
    live = dynamic.live()
    assert await live.reveal(PasswordHint(transaction_id="T-1")) == (by_id.challenge.encode(),)
    assert await live.reveal(PasswordHint(subject=spelt)) == (by_subject.challenge.encode(),)
    both = await live.reveal(PasswordHint(transaction_id="T-1", subject=spelt))
    assert both == (by_id.challenge.encode(), by_subject.challenge.encode())
    for nobody in (PasswordHint(), PasswordHint(transaction_id="T-2"), PasswordHint(subject=SUBJECT)):
        assert await live.reveal(nobody) == ()


async def test_at_most_two_candidates_and_no_expired_one(house: HouseUnderTest) -> None:
    dynamic = made(house, kept_for_ec="on")
    by_subject, by_id = MintOrder(binding=NameBinding(subject=SUBJECT)), MintOrder(transaction_id="T-1")
    made_for_id = {one.challenge.encode() for one in await minted(dynamic, by_id, by_id)}
    await minted(dynamic, by_subject, by_subject, by_subject)
    hint = PasswordHint("T-1", house.host().canonical_subject(SUBJECT))
    assert set(await dynamic.live().reveal(hint)) == made_for_id
    house.clock.forward(minutes=60)
    assert await dynamic.live().reveal(hint) == ()


async def test_spent_one_is_revealed_for_its_entry(house: HouseUnderTest) -> None:
    """A poll comes after the challenge was spent: what the grant left with the entry opens it."""
    dynamic = made(house, kept_for_ec="on")
    (one,) = await minted(dynamic, MintOrder(transaction_id="T-1"))
    grant = await dynamic.live().redeem(dynamic.attempt(one.challenge))
    assert grant.reference
    assert one.challenge not in grant.reference
    await house.ledger.open(opening("T-1", integration="corp", consumes=grant.consumes), [])
    assert await dynamic.live().reveal(PasswordHint("T-1", "", grant.reference)) == (one.challenge.encode(),)
    with pytest.raises(PluginFault):
        await made(house, "other", kept_for_ec="on").live().reveal(PasswordHint("T-1", "", grant.reference))


async def test_nothing_is_kept_unless_asked_for_or_unless_bound(house: HouseUnderTest) -> None:
    off, on = made(house, "off"), made(house, "on", kept_for_ec="on")
    hint = PasswordHint(subject=house.host().canonical_subject(SUBJECT))
    bound = MintOrder(binding=NameBinding(subject=SUBJECT))
    for dynamic, order in ((off, bound), (on, MintOrder()), (on, MintOrder(binding=NameBinding(device_ids=("C02X",))))):
        (one,) = await minted(dynamic, order)
        assert (await dynamic.live().redeem(dynamic.attempt(one.challenge))).reference == ""
        assert await dynamic.live().reveal(hint) == ()
    await minted(on, bound)
    assert len(await on.live().reveal(hint)) == 1


async def test_what_was_kept_is_not_recovered_once_the_setting_is_off(house: HouseUnderTest) -> None:
    dynamic = made(house, kept_for_ec="on")
    (one,) = await minted(dynamic, MintOrder(transaction_id="T-1"))
    off, _ = PLUGIN.rotate("corp", dynamic.settings, {"keep_secret": "yes", "kept_for_ec": "off"}, house.keys)
    switched = Minting(house, "dynamic", off, dynamic.shown)
    assert await switched.live().reveal(PasswordHint(transaction_id="T-1")) == ()
    assert await dynamic.live().reveal(PasswordHint(transaction_id="T-1")) == (one.challenge.encode(),)


async def test_one_integration_reveals_nothing_of_another(house: HouseUnderTest) -> None:
    ours, other = made(house, "ours", kept_for_ec="on"), made(house, "other", kept_for_ec="on")
    await minted(ours, MintOrder(transaction_id="T-1"))
    assert await other.live().reveal(PasswordHint(transaction_id="T-1")) == ()
