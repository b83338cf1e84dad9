"""The simulator as a process: scripted over its control endpoint, trusted by its CA file, the same after a restart."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.simulators.documented import ENDPOINTS, app_certificate, make_csr, validation
from tests.simulators.intune import RemoteSimulator
from tests.simulators.intune.remote import ControlError

TENANT = "contoso.onmicrosoft.com"


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteSimulator]:
    with RemoteSimulator(tmp_path_factory.mktemp("simulator")) as started:
        yield started


def https(remote: RemoteSimulator, url: str, data: bytes | None = None, **headers: str) -> tuple[int, Any]:
    context = ssl.create_default_context(cafile=remote.ca)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with opener.open(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def token(remote: RemoteSimulator, client_id: str, scope: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": "s", "scope": scope}
    url = f"{remote.authority}{TENANT}/oauth2/v2.0/token"
    status, answer = https(remote, url, urllib.parse.urlencode(form).encode())
    assert status == 200, answer
    return f"Bearer {answer['access_token']}"


def test_an_enrolment_scripted_from_outside(remote: RemoteSimulator, device_key, rsa_key) -> None:
    tenant = remote.do("add_tenant", domains=[TENANT])
    pem = app_certificate(rsa_key).public_bytes(Encoding.PEM).decode()
    client_id = remote.do("add_app", tenant=TENANT, secret="s", certificates=[pem])["client_id"]
    graph = token(remote, client_id, "https://graph.microsoft.com/.default")
    _, endpoints = https(remote, remote.graph + ENDPOINTS, Authorization=graph, client_request_id=str(uuid.uuid4()))
    (uri,) = [each["uri"] for each in endpoints["value"] if each["providerName"].startswith("ScepRequest")]
    bearer = token(remote, client_id, "https://api.manage.microsoft.com//.default")
    made = remote.do("new_challenge", tenant=TENANT, subject="CN=device-1", sans=[])
    body = json.dumps(validation(make_csr(made["text"], device_key))).encode()

    def validate() -> tuple[int, Any]:
        headers = {"Authorization": bearer, "Content_Type": "application/json", "api_version": "2018-02-20"}
        return https(remote, f"{uri}/ScepActions/validateRequest", body, client_request_id=str(uuid.uuid4()), **headers)

    remote.do("fail", operation="validateRequest", fault={"kind": "status", "status": 503}, tenant=TENANT)
    assert validate()[0] == 503
    assert validate() == (200, {"code": "Success", "errorDescription": ""})
    (_, call) = remote.do("wait_for", operation="validateRequest", count=2)
    assert call["tenant"] == tenant["tenant_id"]
    assert base64.b64decode(call["json"]["request"]["certificateRequest"])
    assert [each["fault"] for each in remote.calls("validateRequest")] == ["status", None]
    assert remote.violations == []
    remote.do("set_app", tenant=TENANT, client_id=client_id, roles=["Application.Read.All"])
    remote.do("revoke_tokens", tenant=TENANT)
    assert validate()[0] == 401


def test_the_control_endpoint_refuses_what_it_cannot_do(remote: RemoteSimulator) -> None:
    for verb, arguments in [
        ("no_such_verb", {}),
        ("add_app", {"tenant": "nobody.example"}),
        ("fail", {"operation": "token", "fault": {"sort": "cut"}}),
        ("set_tenant", {"tenant": TENANT, "colour": "red"}),
    ]:
        with pytest.raises(ControlError):
            remote.do(verb, **arguments)
    with pytest.raises(TimeoutError):
        remote.do("wait_for", operation="uploadRevocationResults", seconds=0.01)


def test_revocations_from_outside(remote: RemoteSimulator) -> None:
    remote.do("add_tenant", domains=["fabrikam.onmicrosoft.com"])
    made = remote.do("request_revocation", tenant="fabrikam.onmicrosoft.com", serial_number="0A", issuer_name="CN=CA")
    (listed,) = remote.do("revocations")
    assert listed == made | {"pending": True}
    assert remote.do("move", tenant="fabrikam.onmicrosoft.com", old="refused")["unit"] == "msuc02"


def test_a_restarted_simulator_is_trusted_as_before(tmp_path: Path) -> None:
    url = "nobody.example/v2.0/.well-known/openid-configuration"
    with RemoteSimulator(tmp_path) as first:
        root = first.ca.read_bytes()
        assert https(first, first.authority + url)[0] == 400
    with RemoteSimulator(tmp_path) as second:
        assert second.ca.read_bytes() == root
        assert https(second, second.authority + url)[0] == 400
    assert (tmp_path / "server.key").stat().st_mode & 0o077 == 0
