"""N16: a challenge minted for names admits those names, however they are spelled, and no others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from scep_server.codec.names import EMPTY_NAME, build_general_names, general_name
from scep_server.errors import Reason, Refusal
from scep_server.policy.bindings import bound_san, canonical_name, canonical_subject, check_binding, name_der
from scep_server.types import IssueOrder, NameBinding

NOW = datetime.now(UTC)
O_CN = x509.Name(
    [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), x509.NameAttribute(NameOID.COMMON_NAME, "Device 1")]
).public_bytes()


def order(subject: bytes = O_CN, *sans: str) -> IssueOrder:
    san = build_general_names([general_name(*one.split(":", 1)) for one in sans]) if sans else None
    return IssueOrder(subject=subject, spki=b"", san=san, not_before=NOW, not_after=NOW)


def cn(text: str) -> bytes:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]).public_bytes()


ADMITTED = {
    "nothing bound": (order(), NameBinding()),
    "the subject": (order(), NameBinding(subject="CN=Device 1,O=Example")),
    "the subject, the other way round": (order(), NameBinding(subject="O=Example,CN=Device 1")),
    "the subject, as people write it": (order(), NameBinding(subject=" cn = device  1 , o = EXAMPLE ")),
    "the subject and its names": (
        order(O_CN, "dns:one.example", "uri:deviceid://1"),
        NameBinding(subject="CN=Device 1,O=Example", sans=("uri:deviceid://1", "dns:ONE.example")),
    ),
    "fewer names than listed": (order(EMPTY_NAME, "dns:one.example"), NameBinding(sans=("dns:one.example", "dns:b"))),
    "a common name that repeats a name": (
        order(cn("one.example"), "dns:one.example"),
        NameBinding(sans=("dns:one.example",)),
    ),
    "a device in the common name": (
        order(cn("jane managementAttestation 8F3A-11")),
        NameBinding(device_ids=("8f3a-11", "C02XYZ")),
    ),
    "a device in a SAN": (order(cn("x"), "uri:deviceid://8F3A-11"), NameBinding(device_ids=("8f3a-11",))),
}
REFUSED = {
    "another common name": (order(cn("admin")), NameBinding(subject="CN=Device 1,O=Example")),
    "one more attribute": (order(O_CN), NameBinding(subject="CN=Device 1")),
    "no subject": (
        order(EMPTY_NAME, "dns:one.example"),
        NameBinding(subject="CN=one.example", sans=("dns:one.example",)),
    ),
    "a name beside the subject": (order(O_CN, "dns:dc1.example"), NameBinding(subject="CN=Device 1,O=Example")),
    "another name": (order(EMPTY_NAME, "dns:two.example"), NameBinding(sans=("dns:one.example",))),
    "another kind of name": (order(EMPTY_NAME, "email:one.example"), NameBinding(sans=("dns:one.example",))),
    "a common name beside the names": (order(cn("admin"), "dns:one.example"), NameBinding(sans=("dns:one.example",))),
    "two attributes beside the names": (order(O_CN, "dns:one.example"), NameBinding(sans=("dns:one.example",))),
    "no names at all allowed": (order(cn("x")), NameBinding(sans=())),
    "another device": (order(cn("jane managementAttestation 8F3A-12")), NameBinding(device_ids=("8F3A-11",))),
    "a part of a word": (order(cn("8F3A-112")), NameBinding(device_ids=("8F3A-11",))),
    "an identifier too short to mean anything": (order(cn("iPhone 1")), NameBinding(device_ids=("1",))),
    "right device, wrong subject": (order(cn("8F3A-11")), NameBinding(subject="CN=x", device_ids=("8F3A-11",))),
    "a binding that cannot be read": (order(), NameBinding(subject="no name")),
}


@pytest.mark.parametrize("case", ADMITTED)
def test_bound_names_are_admitted(case: str) -> None:
    wanted, binding = ADMITTED[case]
    check_binding(wanted, binding)


@pytest.mark.parametrize("case", REFUSED)
def test_other_names_are_a_security_event(case: str) -> None:
    wanted, binding = REFUSED[case]
    with pytest.raises(Refusal) as refused:
        check_binding(wanted, binding)
    assert (refused.value.reason, refused.value.security, refused.value.guess) == (Reason.CHALLENGE_NAMES, True, False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=a,O=b", "o = B , cn=A"),
        ("E=a@b.example", "emailAddress=A@b.example"),
        ("SERIALNUMBER=12+CN=x", "CN=X+serialNumber=12"),
        ("2.5.4.3=x", "cn=x"),
        ("CN=a\\,b", "cn=a\\,B"),
    ],
)
def test_spellings_of_one_name_are_one_text(one: str, other: str) -> None:
    assert canonical_subject(one) == canonical_subject(other) == canonical_name(name_der(one))


@pytest.mark.parametrize(("one", "other"), [("CN=a,O=b", "CN=b,O=a"), ("CN=a", "O=a"), ("CN=a,O=b", "CN=a+O=b")])
def test_other_names_are_other_texts(one: str, other: str) -> None:
    assert canonical_subject(one) != canonical_subject(other)


@pytest.mark.parametrize("text", ["device 1", "CN", "CN=Doe, John", "NOSUCHTYPE=x", "CN=a,=b"])
def test_what_is_no_name_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 4514"):
        canonical_subject(text)


@pytest.mark.parametrize(
    ("text", "cause"), [("DC=é", "ascii"), ("uid=" + "x" * 300, "256"), (",".join(["O=a"] * 60), "50 are allowed")]
)
def test_a_name_that_no_certificate_could_say_is_said_so(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        canonical_subject(text)
    with pytest.raises(Refusal, match=f"cannot be read.*{cause}"):
        check_binding(order(), NameBinding(subject=text))


@pytest.mark.parametrize("text", ["host.example", "dns:", "dirname:CN=x", "ip:host", "dns:büro.example"])
def test_what_is_no_san_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        bound_san(text)
