"""Proxies: the operator's, the environment's, none; passwords that stay where they are."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from scep_server.config import OutboundSettings
from scep_server.errors import ConfigurationError, OutboundFault
from scep_server.outbound import HttpsClient
from scep_server.outbound.proxy import ProxyChoice

PASSWORD = "p:ss w€rd"
INSIDE = "https://service.example/api"


@pytest.fixture
async def service(running: Any, authority: Any) -> Any:
    """Known by a name that nobody but the proxy can resolve, and as localhost."""
    return await running.service(authority.server("service.example", "localhost"))


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    return file


async def fault_at(client: Any, url: str) -> OutboundFault:
    with pytest.raises(OutboundFault) as caught:
        await client.request("GET", url, timeout=5)
    return caught.value


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


async def test_the_operators_proxy_is_asked_to_connect(
    running: Any, authority: Any, service: Any, password_file: Path
) -> None:
    proxy = await running.proxy(service)
    client = running.client(
        ca_file=authority.file, proxy=f"http://us%40er@127.0.0.1:{proxy.port}", proxy_password_file=password_file
    )
    answer = await client.request("POST", INSIDE, headers={"Authorization": "Bearer t"}, body=b"x")
    assert (answer.status, answer.body) == (200, b"{}")
    assert [asked.line for asked in proxy.asked] == ["CONNECT service.example:443 HTTP/1.1"]
    assert proxy.asked[0].headers["proxy-authorization"] == basic("us@er", PASSWORD)
    assert "authorization" not in proxy.asked[0].headers
    # What the proxy was told stays between us and it.
    assert service.asked[0].line == "POST /api HTTP/1.1"
    assert "proxy-authorization" not in service.asked[0].headers
    assert service.asked[0].headers["authorization"] == "Bearer t"


async def test_a_tunnel_is_used_again(running: Any, authority: Any, service: Any) -> None:
    proxy = await running.proxy(service)
    client = running.client(ca_file=authority.file, proxy=f"http://127.0.0.1:{proxy.port}")
    for _ in range(3):
        assert (await client.request("GET", INSIDE)).status == 200
    assert (len(proxy.asked), service.connections) == (1, 1)
    assert "proxy-authorization" not in proxy.asked[0].headers


async def test_what_is_behind_the_proxy_is_verified(running: Any, authority: Any, stranger: Any, service: Any) -> None:
    proxy = await running.proxy(service)
    other = await running.proxy(await running.service(stranger.server("service.example")))
    settings = {"ca_file": authority.file}
    for port, url in ((proxy.port, "https://other.example/"), (other.port, INSIDE)):
        fault = await fault_at(running.client(**settings, proxy=f"http://127.0.0.1:{port}"), url)
        assert (fault.kind, "is not trusted" in str(fault)) == ("tls", True)
    assert service.asked == []


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_the_environments_proxy_is_used(
    running: Any, authority: Any, service: Any, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    proxy = await running.proxy(service)
    monkeypatch.setenv(name, f"{scheme}user:p%3Ass@127.0.0.1:{proxy.port}/")
    assert (await running.client(ca_file=authority.file).request("GET", INSIDE)).status == 200
    assert proxy.asked[0].headers["proxy-authorization"] == basic("user", "p:ss")


async def test_the_settings_go_before_the_environment(
    running: Any, authority: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, unused = await running.proxy(service), await running.proxy(service)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused.port}")
    client = running.client(ca_file=authority.file, proxy=f"http://127.0.0.1:{proxy.port}")
    assert (await client.request("GET", INSIDE)).status == 200
    direct = running.client(ca_file=authority.file, proxy="none")
    assert (await direct.request("GET", service.url())).status == 200
    assert (len(proxy.asked), len(unused.asked)) == (1, 0)


@pytest.mark.parametrize(
    ("value", "proxied"),
    [("localhost", False), ("other.example, LOCALHOST", False), ("*", False), ("localhost:{port}", False),
     ("localhost:1", True), (".localhost.example", True), ("", True)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
async def test_no_proxy_is_kept_to(
    running: Any, authority: Any, service: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, proxied: bool
) -> None:
    proxy = await running.proxy(service)
    monkeypatch.setenv(name, value.format(port=service.port))
    client = running.client(ca_file=authority.file, proxy=f"http://127.0.0.1:{proxy.port}")
    assert (await client.request("GET", service.url())).status == 200
    assert len(proxy.asked) == int(proxied)


async def test_http_to_this_machine_passes_no_proxy(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = await running.service(None)
    proxy = await running.proxy(service)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    assert (await running.client().request("GET", service.url())).status == 200
    assert proxy.asked == []


# --- what goes wrong


async def test_faults_of_the_proxy_name_it_and_no_password(
    running: Any, authority: Any, service: Any, password_file: Path
) -> None:
    refusing = await running.proxy(service, status="407 Proxy Authentication Required")
    forbidding = await running.proxy(service, status="403 Forbidden")
    cases = {
        f"127.0.0.1:{refusing.port}": "HTTP 407; it wants a user",
        f"127.0.0.1:{forbidding.port}": "did not connect to service.example: HTTP 403",
        "127.0.0.1:1": "cannot be reached: Connection refused",
        "no-such-proxy.invalid:3128": "does not resolve",
    }
    for address, words in cases.items():
        client = running.client(
            ca_file=authority.file, proxy=f"http://user@{address}", proxy_password_file=password_file
        )
        fault = await fault_at(client, INSIDE)
        assert fault.kind == "proxy"
        assert address in str(fault)
        assert words in str(fault)
        for secret in (PASSWORD, basic("user", PASSWORD)):
            assert secret not in repr(fault)


def test_a_proxy_shows_no_credentials(password_file: Path) -> None:
    choice = ProxyChoice(OutboundSettings(proxy="http://user@proxy.example:3128", proxy_password_file=password_file))
    proxy = choice.of("service.example", 443)
    assert proxy is not None
    assert (str(proxy), proxy.url) == ("proxy.example:3128", "http://proxy.example:3128")
    assert proxy.authorization == basic("user", PASSWORD)
    assert proxy.authorization not in repr(proxy)


@pytest.mark.parametrize("value", ["socks5://u:the-secret@h:1", "https://u:the-secret@h:1", "http://u:the-secret@h:x",
                                   "http://u:the-secret@", "http://[u:the-secret"])  # fmt: skip
def test_an_environment_that_names_no_proxy_stops_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY is no proxy") as caught:
        HttpsClient(OutboundSettings())
    assert "the-secret" not in str(caught.value)
    assert HttpsClient(OutboundSettings(proxy="none")) is not None


def test_a_password_file_must_be_readable(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("missing", "binary"):
        with pytest.raises(ConfigurationError, match=r"outbound.proxy_password_file: cannot read .*mode 0600"):
            HttpsClient(OutboundSettings(proxy="http://user@h:1", proxy_password_file=tmp_path / name))
