"""`scep-server client`: our own SCEP client, for operators who try a server and for machines without an MDM."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scep_server.cli import output
from scep_server.cli.failures import say
from scep_server.cli.options import Json, secret

if TYPE_CHECKING:
    from scep_server.cli.enrolling import Wishes
    from scep_server.client import Check, Transport
    from scep_server.client.report import Report

commands = typer.Typer(
    help="A SCEP client: says what it verified, never overwrites a file.",
    no_args_is_help=True,
    epilog="Exit codes: 0 done, 1 error, 2 wrong command line, 3 refused by the server, 4 pending, 5 unavailable.",
)

Url = Annotated[str, typer.Option("--url", metavar="URL", help="SCEP URL.")]
Fingerprint = Annotated[
    str | None,
    typer.Option(
        "--ca-fingerprint", metavar="HEX", help="SHA-256 or SHA-1 of the root or issuing CA, from the administrator."
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option("--tls-ca", metavar="FILE", help="PEM that HTTPS is verified with instead of the system's."),
]
Challenge = Annotated[
    str | None,
    typer.Option(
        "--challenge", metavar="VALUE", help="Challenge (visible to others; prefer a file or SCEP_CHALLENGE)."
    ),
]
ChallengeFile = Annotated[
    Path | None, typer.Option("--challenge-file", metavar="FILE", help="File that holds the challenge.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for key.pem, cert.pem and chain.pem.")]
KeyTypeOption = Annotated[str, typer.Option("--key-type", help="Key to make: rsa2048, rsa3072, rsa4096, p256 or p384.")]
San = Annotated[
    list[str] | None,
    typer.Option("--san", metavar="TYPE:VALUE", help="dns:, email:, uri:, ip: or upn: name to ask for (repeatable)."),
]
DigestOption = Annotated[str, typer.Option("--digest", help="sha256, sha384 or sha512 (sha1 where permitted).")]
CipherOption = Annotated[str, typer.Option("--cipher", help="aes128, aes192 or aes256 (des3 where permitted).")]
TransportOption = Annotated[str, typer.Option("--key-transport", help="pkcs1, oaep-sha1 or oaep-sha256.")]
Wait = Annotated[
    int, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait while the request is pending.")
]
Interval = Annotated[int, typer.Option("--interval", metavar="SECONDS", min=1, help="Time between two polls.")]


@commands.command()
def caps(url: Url, tls_ca: TlsCa = None, as_json: Json = False) -> None:
    """Print what the server says it can do (GetCACaps)."""
    from scep_server.client import get_capabilities  # noqa: PLC0415 - see options.settings_of

    async def run(transport: Transport) -> None:
        found = sorted(await get_capabilities(transport))
        if as_json:
            output.json_line({"capabilities": found})
        else:
            print("\n".join(found))

    _with_transport(url, tls_ca, run)


@commands.command()
def ca(
    url: Url,
    fingerprint: Fingerprint = None,
    tls_ca: TlsCa = None,
    pem: Annotated[bool, typer.Option("--pem", help="Print the certificates too.")] = False,
    as_json: Json = False,
) -> None:
    """Print and verify the server's certificates (GetCACert)."""
    from scep_server.cli.authority_view import show_authority  # noqa: PLC0415
    from scep_server.client import get_authority  # noqa: PLC0415

    async def run(transport: Transport) -> None:
        authority = await get_authority(transport, fingerprint, _teller())
        show_authority(authority, pem=pem, as_json=as_json)

    _with_transport(url, tls_ca, run)


@commands.command()
def enroll(
    url: Url,
    out: Out,
    subject: Annotated[str, typer.Option(metavar="NAME", help="RFC 4514 name, such as 'CN=device 1,O=Example'.")],
    san: San = None,
    challenge: Challenge = None,
    challenge_file: ChallengeFile = None,
    key_type: KeyTypeOption = "rsa2048",
    fingerprint: Fingerprint = None,
    tls_ca: TlsCa = None,
    digest: DigestOption = "sha256",
    cipher: CipherOption = "aes128",
    key_transport: TransportOption = "pkcs1",
    wait: Wait = 0,
    interval: Interval = 5,
    as_json: Json = False,
) -> None:
    """Make a key, ask for a certificate, verify it, write both. Exit code 4 when an operator has to approve first."""
    from scep_server.cli.enrolling import enroll_new  # noqa: PLC0415

    wishes = _wishes(out, fingerprint, wait, interval, as_json, digest, cipher, key_transport)
    given = _challenge(challenge, challenge_file)
    _with_transport(url, tls_ca, lambda transport: enroll_new(transport, wishes, key_type, subject, san or (), given))


@commands.command()
def renew(
    url: Url,
    out: Out,
    old: Annotated[Path, typer.Option("--from", metavar="DIR", help="Folder with key.pem and cert.pem to renew.")],
    challenge: Challenge = None,
    challenge_file: ChallengeFile = None,
    key_type: KeyTypeOption = "rsa2048",
    fingerprint: Fingerprint = None,
    tls_ca: TlsCa = None,
    digest: DigestOption = "sha256",
    cipher: CipherOption = "aes128",
    key_transport: TransportOption = "pkcs1",
    wait: Wait = 0,
    interval: Interval = 5,
    as_json: Json = False,
) -> None:
    """Ask for a successor with a new key, authorised by the certificate that is still valid (RenewalReq)."""
    from scep_server.cli.enrolling import enroll_renewal  # noqa: PLC0415

    wishes = _wishes(out, fingerprint, wait, interval, as_json, digest, cipher, key_transport)
    given = _challenge(challenge, challenge_file)
    _with_transport(url, tls_ca, lambda transport: enroll_renewal(transport, wishes, key_type, old.resolve(), given))


@commands.command()
def poll(
    out: Out,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="SCEP URL, where it is another one than before.")
    ] = None,
    challenge: Challenge = None,
    challenge_file: ChallengeFile = None,
    fingerprint: Fingerprint = None,
    tls_ca: TlsCa = None,
    digest: DigestOption = "sha256",
    cipher: CipherOption = "aes128",
    key_transport: TransportOption = "pkcs1",
    wait: Wait = 600,
    interval: Interval = 5,
    as_json: Json = False,
) -> None:
    """Go on with an enrolment that waits in DIR: for an approval, or for an answer that never came."""
    from scep_server.cli.enrolling import enroll_outstanding  # noqa: PLC0415
    from scep_server.client import Folder  # noqa: PLC0415

    wishes = _wishes(out, fingerprint, wait, interval, as_json, digest, cipher, key_transport)
    given = _challenge(challenge, challenge_file)
    outstanding = Folder(out).outstanding()
    _with_transport(
        url or outstanding.url, tls_ca, lambda transport: enroll_outstanding(transport, wishes, outstanding, given)
    )


def _with_transport(url: str, tls_ca: Path | None, work: Callable[[Transport], Awaitable[None]]) -> None:
    from scep_server.client import Transport  # noqa: PLC0415

    async def run() -> None:
        async with Transport(url, tls_ca=tls_ca) as transport:
            await work(transport)

    asyncio.run(run())


def _teller() -> Report:
    """Tells each check once: a poll makes the same ones every few seconds."""
    told: set[Check] = set()

    def tell(check: Check) -> None:
        if check not in told:
            told.add(check)
            say(str(check))

    return tell


def _challenge(typed: str | None, file: Path | None) -> str | None:
    import os  # noqa: PLC0415

    variable = "SCEP_CHALLENGE" if typed is None and file is None and "SCEP_CHALLENGE" in os.environ else None
    return secret(typed, file, variable, option="--challenge")


def _wishes(
    out: Path,
    fingerprint: str | None,
    wait: int,
    interval: int,
    as_json: bool,
    digest: str,
    cipher: str,
    key_transport: str,
) -> Wishes:
    from scep_server.cli.enrolling import Wishes, parse_algorithms  # noqa: PLC0415

    algorithms = parse_algorithms(digest, cipher, key_transport)
    return Wishes(out.resolve(), fingerprint, algorithms, wait, interval, as_json, _teller())
