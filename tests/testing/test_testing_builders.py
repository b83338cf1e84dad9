"""Attempts, certificates and houses for authors of plugins; and that nobody has to have them who only serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from challenge_plugins import static
from scep_server.codec.csr import SUBJECT_ALT_NAME
from scep_server.errors import OutboundFault, Refusal
from scep_server.keyfile import SecretKeyFile
from scep_server.testing import house, make_attempt, make_certificate
from scep_server.testing.attempts import LONGEST_IN_A_CSR
from scep_server.types import Grant, MessageType

SANS = ("dns:laptop-1.example", "email:a@example.org", "uri:urn:device:1", "ip:192.0.2.1")


def test_an_attempt_holds_a_request_that_others_read_too() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    attempt = make_attempt("sesame", "CN=laptop-1,O=Example", SANS, key=key, message_type=MessageType.RENEWAL_REQ)
    request = x509.load_der_x509_csr(attempt.request.der)
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    assert request.subject.rfc4514_string() == "CN=laptop-1,O=Example"
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert len(names) == len(SANS)
    assert [extension.oid for extension in attempt.request.extensions] == [SUBJECT_ALT_NAME]
    assert (attempt.request.challenge, attempt.message_type) == ("sesame", MessageType.RENEWAL_REQ)


@pytest.mark.parametrize("challenge", [None, "", "é😀", "x" * LONGEST_IN_A_CSR, "x" * (LONGEST_IN_A_CSR + 1), "a\0b"])
def test_every_challenge_gets_into_an_attempt(challenge: str | None) -> None:
    assert make_attempt(challenge).request.challenge == challenge


@pytest.mark.parametrize("names", [{"subject": "no name"}, {"sans": ("upn:a@b",)}, {"sans": ("ip:nowhere",)}])
def test_names_that_cannot_be_are_refused(names: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        make_attempt("sesame", **names)  # type: ignore[arg-type]


def test_attempts_are_transactions_of_their_own() -> None:
    assert make_attempt().transaction_id != make_attempt().transaction_id
    assert make_attempt(transaction_id="TID").transaction_id == "TID"


def test_a_certificate_is_for_the_attempt() -> None:
    attempt = make_attempt(subject="CN=laptop-1")
    made = make_certificate(attempt, days=30)
    read = x509.load_der_x509_certificate(made.der)
    assert read.public_key() == attempt.request.public_key
    assert (read.serial_number, read.subject.public_bytes()) == (made.serial, attempt.request.subject)
    assert (made.not_after - made.not_before).days == 30


async def test_a_house_is_a_whole_one(tmp_path: Path) -> None:
    async with house(tmp_path, counters={"stranger": {"seen": "times"}}) as its_house:
        settings, shown = static.PLUGIN.create("corp", {}, its_house.keys)
        plugin = its_house.load("static", settings)
        assert isinstance(await plugin.redeem(make_attempt(shown["challenge"])), Grant)
        with pytest.raises(Refusal):
            await plugin.redeem(make_attempt("wrong"))
        host = its_house.host("stranger")
        host.count("seen", 2)
        host.count("unseen")
        assert (its_house.counted("stranger", "seen"), its_house.counted("stranger", "other")) == (2, 1)
        before = its_house.clock()
        its_house.clock.forward(hours=1)
        assert (host.clock() - before).total_seconds() == 3600
        assert isinstance(its_house.keys, SecretKeyFile)
        with pytest.raises(OutboundFault):
            await host.outbound.request("GET", "http://127.0.0.1:1/")


async def test_two_houses_share_nothing_but_their_ca(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with house(tmp_path / "one") as one, house(tmp_path / "other") as other:
        one.host("static").count("seen")
        assert one.ledger is not other.ledger
        assert other.counted("other", "other") == 0
        assert one.host().issuer() == other.host().issuer()


def imported(*modules: str) -> set[str]:
    """What a process that imports these has loaded."""
    script = f"import sys, {', '.join(modules)}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_the_server_does_not_import_it_and_it_does_not_import_pytest() -> None:
    serving = imported("scep_server.cli.application", "scep_server.assembly.serving", "scep_server.web")
    assert {name for name in serving if name.startswith("scep_server.testing")} == set()
    testing = imported("scep_server.testing")
    assert "scep_server.testing.contract" in testing
    assert "pytest" not in testing
