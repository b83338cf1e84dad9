"""Whose TLS is believed: names, ends, authorities, versions."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from oscrypto import trust_list

from scep_server.config import OutboundSettings
from scep_server.errors import ConfigurationError, OutboundFault
from scep_server.outbound import HttpsClient
from scep_server.outbound.trust import tls_context
from tests.conftest import cannot


async def fault_at(client: Any, url: str) -> OutboundFault:
    with pytest.raises(OutboundFault) as caught:
        await client.request("GET", url, timeout=5)
    return caught.value


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_an_authority_of_the_operators_own_is_trusted(running: Any, authority: Any, host: str) -> None:
    service = await running.service(authority.server())
    answer = await running.client(ca_file=authority.file).request("GET", service.url(host))
    assert (answer.status, answer.body, answer.content_type) == (200, b"{}", "application/json")


async def test_the_operating_systems_file_may_be_named_by_the_environment(
    running: Any, authority: Any, stranger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    service, other = await running.service(authority.server()), await running.service(stranger.server())
    assert (await running.client().request("GET", service.url())).status == 200
    both = running.client(ca_file=stranger.file)
    assert (await both.request("GET", service.url())).status == 200
    assert (await both.request("GET", other.url())).status == 200


def test_the_operating_system_is_trusted_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    if not Path("/etc/ssl/certs/ca-certificates.crt").exists():
        cannot("no certification authorities are installed (Debian package ca-certificates)")
    context = tls_context(None)
    assert len(context.get_ca_certs()) > 50
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_what_is_not_to_be_trusted_is_sent_nothing(running: Any, authority: Any, stranger: Any) -> None:
    client = running.client(ca_file=authority.file)
    cases = {
        "local issuer": stranger.server(),
        "expired": authority.server(days=-1),
        "mismatch": authority.server("service.example"),
    }
    for words, context in cases.items():
        service = await running.service(context)
        fault = await fault_at(client, service.url())
        assert fault.kind == "tls"
        assert "localhost is not trusted: " in str(fault)
        assert words in str(fault).lower()
        assert service.asked == []


async def test_an_address_is_held_against_addresses(running: Any, authority: Any) -> None:
    service = await running.service(authority.server("localhost"))
    client = running.client(ca_file=authority.file)
    assert (await fault_at(client, service.url("127.0.0.1"))).kind == "tls"
    assert (await client.request("GET", service.url("localhost"))).status == 200


async def test_tls_before_1_2_is_not_spoken(running: Any, authority: Any) -> None:
    old = authority.server()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    service = await running.service(old)
    assert (await fault_at(running.client(ca_file=authority.file), service.url())).kind == "tls"
    # The server would have answered somebody less strict.
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lax.load_verify_locations(authority.file)
    lax.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        lax.minimum_version = ssl.TLSVersion.TLSv1
    _, writer = await asyncio.open_connection("127.0.0.1", service.port, ssl=lax, server_hostname="localhost")
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.1"
    writer.close()


async def test_tls_1_2_is_spoken(running: Any, authority: Any) -> None:
    context = authority.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    service = await running.service(context)
    assert (await running.client(ca_file=authority.file).request("GET", service.url())).status == 200


async def test_plain_http_behind_https_is_no_tls(running: Any, authority: Any) -> None:
    async def speak_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    port = await running.listen(speak_first, None)
    fault = await fault_at(running.client(ca_file=authority.file), f"https://localhost:{port}/")
    assert (fault.kind, str(fault).startswith("no TLS with localhost: ")) == ("tls", True)


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/x", "http://example.org/", "http://localhost.example.org/", "ftp://localhost/",
            "localhost", "", "https:///x", "https://[::1/", "https://host:99999/", "https://a b/", "https://a\\@b/",
            "https://host/\r\nX: y", "http://localhost\\@example.org/"]
)  # fmt: skip
async def test_only_https_or_this_machine_is_asked(running: Any, url: str) -> None:
    fault = await fault_at(running.client(), url)
    assert fault.kind == "other"
    assert url not in str(fault) or not url


async def test_this_machine_may_be_asked_by_http(running: Any) -> None:
    service = await running.service(None)
    assert (await running.client().request("GET", service.url("127.0.0.1"))).status == 200


async def test_credentials_in_a_url_are_refused_unquoted(running: Any) -> None:
    fault = await fault_at(running.client(), "https://user:the-secret@localhost/")
    assert fault.kind == "other"
    assert "the-secret" not in str(fault)


@pytest.mark.parametrize("name", ["missing.pem", "empty.pem"])
def test_a_file_without_authorities_stops_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.pem").write_text("no certificate\n")
    with pytest.raises(ConfigurationError, match=rf"outbound.ca_file: cannot use .*{name}"):
        HttpsClient(OutboundSettings(ca_file=tmp_path / name))


async def test_a_machine_without_authorities_needs_a_file(
    running: Any, authority: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise OSError("Unable to find a CA certs bundle")

    monkeypatch.setattr(trust_list, "get_path", missing)
    service = await running.service(authority.server())
    fault = await fault_at(running.client(), service.url())
    assert (fault.kind, "set outbound.ca_file" in str(fault)) == ("tls", True)
    assert (await running.client(ca_file=authority.file).request("GET", service.url())).status == 200
