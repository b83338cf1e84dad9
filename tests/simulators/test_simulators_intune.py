"""What the documents say is accepted and answered as they say: tokens, discovery, validation, revocation."""

from __future__ import annotations

import base64
import json

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.simulators.documented import (
    GRAPH_SCOPE,
    SECRET,
    DocumentedClient,
    app_certificate,
    assertion,
    download,
    failure,
    make_csr,
    result,
    success,
    validation,
)
from tests.simulators.intune import VALIDATION_CODES, IntuneSimulator, mismatches


async def test_the_documented_course_is_accepted_without_a_violation(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes
) -> None:
    replies = [
        await client.call("validateRequest", validation(csr)),
        await client.call("successNotification", success(csr)),
        await client.call("failureNotification", failure(csr)),
    ]
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert [reply.json for reply in replies] == [{"code": "Success", "errorDescription": ""}] * 3
    assert intune.violations == []
    assert [call.operation for call in intune.calls()] == [
        "token",
        "token",
        "endpoints",
        "validateRequest",
        "successNotification",
        "failureNotification",
    ]


async def test_what_java_leaves_out_may_be_left_out(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes
) -> None:
    await client.call("validateRequest", validation(csr))
    body = success(csr)
    del body["notification"]["caConfiguration"], body["notification"]["certificateAuthority"]
    assert (await client.call("successNotification", body)).status == 200
    assert intune.violations == []


async def test_secrets_and_tokens_are_not_in_the_record(intune: IntuneSimulator, client: DocumentedClient) -> None:
    written = json.dumps([call.to_json() for call in intune.calls()])
    assert SECRET not in written
    assert client.bearer["graph"] not in written
    assert intune.calls("endpoints")[0].headers["authorization"] == "Bearer <redacted>"
    assert b"client_secret=<redacted>" in intune.calls("token")[0].body


async def test_configuration_names_the_token_url_by_guid(client: DocumentedClient, intune: IntuneSimulator) -> None:
    url = f"{intune.urls.authority}contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration"
    async with client.session.get(url, ssl=intune.client_context()) as response:
        assert (await response.json())["token_endpoint"] == client.token_url()
    async with client.session.get(url.replace("contoso", "fabrikam"), ssl=intune.client_context()) as response:
        assert response.status == 400
        assert (await response.json())["error_codes"] == [90002]


async def test_only_the_simulators_root_makes_the_connection_trusted(
    client: DocumentedClient, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await session.get(client.token_url())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda client: setattr(client.app, "secret", "changed"), 7000215),
        (lambda client: setattr(client.app, "secret_expired", True), 7000222),
        (lambda client: client.tenant.apps.clear(), 700016),
        (lambda client: client.simulator.directory.tenants.clear(), 90002),
        (lambda client: setattr(client.app, "consented", False), 65001),
        (lambda client: setattr(client.tenant, "intune_resource", "https://api.manage.example/"), 500011),
    ],
)
async def test_token_errors_are_entras(client: DocumentedClient, intune: IntuneSimulator, change, code: int) -> None:
    change(client)
    reply = await client.send(client.token_request())
    assert reply.status in {400, 401}
    assert reply.json["error_codes"] == [code]
    assert reply.json["error_description"].startswith(f"AADSTS{code}: ")
    assert {"error", "timestamp", "trace_id", "correlation_id"} <= reply.json.keys()
    assert intune.violations == []  # an operator's mistake, not a malformed request


async def test_a_single_slash_works_only_where_the_tenant_takes_it(client: DocumentedClient) -> None:
    request = client.token_request("https://api.manage.microsoft.com/.default")
    assert (await client.send(request)).json["error_codes"] == [500011]
    client.tenant.accepts_single_slash = True
    assert (await client.send(request)).status == 200


@pytest.mark.parametrize("alg", ["PS256", "RS256"])
async def test_a_registered_certificate_gets_a_token_and_another_does_not(
    client: DocumentedClient, intune: IntuneSimulator, rsa_key: rsa.RSAPrivateKey, alg: str
) -> None:
    certificate = app_certificate(rsa_key)
    fields = assertion(rsa_key, certificate, client, alg)
    assert (await client.send(client.token_request(**fields))).json["error_codes"] == [700027]
    client.app.certificates.append(certificate)
    assert (await client.send(client.token_request(**fields))).status == 200
    assert (await client.send(client.token_request(GRAPH_SCOPE, **fields))).status == 200
    assert intune.violations == []


async def test_an_assertion_is_signed_with_the_registered_key(
    client: DocumentedClient, intune: IntuneSimulator, rsa_key: rsa.RSAPrivateKey
) -> None:
    certificate = app_certificate(rsa_key)
    client.app.certificates.append(certificate)
    other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = assertion(other_key, certificate, client)  # names the registered certificate
    assert (await client.send(client.token_request(**forged))).json["error_codes"] == [700027]
    assert intune.violations == []  # an operator may well pair a key with another certificate


async def test_a_token_shows_the_roles_of_its_audience(client: DocumentedClient) -> None:
    def roles(audience: str) -> list[str]:
        claims = client.bearer[audience].split(".")[1]
        found: list[str] = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["roles"]
        return found

    assert roles("graph") == ["Application.Read.All"]
    assert roles("intune") == ["scep_challenge_provider"]
    client.tenant.opaque_tokens = True
    await client.sign_in()
    assert "." not in client.bearer["graph"]
    assert (await client.discover()).status == 200


async def test_a_token_lacks_a_role_granted_later(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes
) -> None:
    client.app.roles.clear()
    await client.sign_in()
    denied = await client.discover()
    assert denied.status == 403
    assert "Insufficient privileges" in denied.json["error"]["message"]
    assert (await client.call("validateRequest", validation(csr))).status == 403
    client.app.roles |= {"scep_challenge_provider", "Application.Read.All"}
    assert (await client.discover()).status == 403
    assert (await client.call("validateRequest", validation(csr))).status == 403
    await client.sign_in()
    assert (await client.discover()).status == 200
    assert (await client.call("validateRequest", validation(csr))).json["code"] == "Success"
    assert intune.violations == []


async def test_discovery_lacks_the_service_without_role_or_licence(client: DocumentedClient) -> None:
    client.app.roles.discard("scep_challenge_provider")
    await client.discover()
    assert set(client.uris) == {"someotherfeservice", "pkiconnectorfeservice"}
    client.app.roles.add("scep_challenge_provider")
    client.tenant.licensed = False
    await client.discover()
    assert "sceprequestvalidationfeservice" not in client.uris


async def test_discovery_may_spell_names_otherwise(client: DocumentedClient, intune: IntuneSimulator) -> None:
    client.tenant.name_key, client.tenant.name_case = "serviceName", "upper"
    (entry,) = [each for each in (await client.discover()).json["value"] if "SCEP" in each["serviceName"]]
    assert entry["serviceName"] == "SCEPREQUESTVALIDATIONFESERVICE"
    assert "providerName" not in entry
    request = client.discovery_request()
    request.url = request.url.replace("/appId=", "(appId='").replace("/endpoints", "')/endpoints")
    assert (await client.send(request)).status == 200
    assert intune.violations == []


async def test_revoked_and_expired_tokens_are_401(client: DocumentedClient, intune: IntuneSimulator) -> None:
    intune.revoke_tokens(client.tenant)
    assert (await client.discover()).status == 401
    await client.sign_in()
    assert (await client.discover()).status == 200
    intune.advance(3600)
    assert (await client.discover()).status == 401
    assert intune.violations == []


async def test_tenants_do_not_see_each_other(
    intune: IntuneSimulator, client: DocumentedClient, device_key: ec.EllipticCurvePrivateKey
) -> None:
    other = intune.add_tenant("fabrikam.onmicrosoft.com")
    stranger = DocumentedClient(intune, client.session, other, intune.add_app(other, secret=SECRET))
    await stranger.sign_in()
    await stranger.discover()
    foreign = validation(make_csr(intune.new_challenge(client.tenant).text, device_key))
    assert (await stranger.call("validateRequest", foreign)).json["code"] == "ChallengeDecryptionError"
    assert (await client.call("validateRequest", foreign)).json["code"] == "Success"
    intune.request_revocation(client.tenant, "01", "CN=CA")
    assert (await stranger.call("downloadRevocationRequests", download())).json["value"] == []
    assert len(intune.calls("validateRequest")) == 2
    assert len(intune.calls("validateRequest", tenant="FABRIKAM.onmicrosoft.com")) == 1
    crossed = client.token_request()
    crossed.url = stranger.token_url()
    assert (await client.send(crossed)).json["error_codes"] == [700016]


def san(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(list(names))


EKU = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
KEY_USAGE = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
UPN = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x09u@example")


@pytest.mark.parametrize(
    ("rules", "extensions", "code"),
    [
        ({"subject": "CN=device-1"}, (), "Success"),
        ({"subject": "CN=device-2"}, (), "SubjectNameMismatch"),
        ({"sans": {"DNS:a.example", "UPN:u@example"}}, (san(x509.DNSName("a.example"), UPN),), "Success"),
        ({"sans": {"DNS:a.example"}}, (), "SubjectAltNameMissing"),
        ({"sans": {"DNS:a.example"}}, (san(x509.DNSName("b.example")),), "SubjectAltNameMismatch"),
        ({"key_usage": {"digital_signature"}}, (KEY_USAGE,), "Success"),
        ({"key_usage": {"key_encipherment"}}, (KEY_USAGE,), "KeyUsageMismatch"),
        ({"extended_key_usage": {"1.3.6.1.5.5.7.3.2"}}, (EKU,), "Success"),
        ({"extended_key_usage": {"1.3.6.1.5.5.7.3.2"}}, (), "EnhancedKeyUsageMissing"),
        ({"extended_key_usage": {"1.3.6.1.5.5.7.3.1"}}, (EKU,), "EnhancedKeyUsageMismatch"),
        ({"key_size": 2048}, (), "KeyLengthMismatch"),
        ({"seconds": -1.0}, (), "ChallengeExpired"),
        ({"not_before": 4e9}, (), "ChallengeInvalidTimestamp"),
        ({"targeted": False}, (), "ScepProfileNoLongerTargetedToTheClient"),
        ({"device_known": False}, (), "BadDeviceIdInChallenge"),
        ({"user_known": False}, (), "BadUserIdInChallenge"),
    ],
)
async def test_the_csr_is_held_against_the_profile(
    intune: IntuneSimulator, client: DocumentedClient, device_key, rules, extensions, code: str
) -> None:
    der = make_csr(intune.new_challenge(client.tenant, **rules).text, device_key, extensions=extensions)
    reply = await client.call("validateRequest", validation(der))
    assert reply.status == 200
    assert reply.json["code"] == code
    assert code in VALIDATION_CODES
    assert intune.violations == []


@pytest.mark.parametrize(
    ("challenge", "code"),
    [
        (None, "ChallengePasswordMissing"),
        ("not base64!", "ChallengeDecodingError"),
        (base64.b64encode(b"nobody's").decode(), "ChallengeDecryptionError"),
    ],
)
async def test_a_challenge_nobody_gave_out_is_refused(
    intune: IntuneSimulator, client: DocumentedClient, device_key, challenge: str | None, code: str
) -> None:
    reply = await client.call("validateRequest", validation(make_csr(challenge, device_key)))
    assert reply.json["code"] == code
    assert reply.json["errorDescription"]


async def test_key_length_subject_and_signature(
    intune: IntuneSimulator, client: DocumentedClient, device_key, rsa_key: rsa.RSAPrivateKey
) -> None:
    fitting = make_csr(intune.new_challenge(client.tenant, key_size=2048).text, rsa_key)
    assert (await client.call("validateRequest", validation(fitting))).json["code"] == "Success"
    nameless = make_csr(intune.new_challenge(client.tenant, subject="CN=device-1").text, device_key, subject=None)
    assert (await client.call("validateRequest", validation(nameless))).json["code"] == "SubjectNameMissing"
    forged = bytearray(fitting)
    forged[-1] ^= 1
    assert (await client.call("validateRequest", validation(bytes(forged)))).json["code"] == "SignatureValidationFailed"


async def test_a_challenge_serves_one_key_as_often_as_it_asks(
    intune: IntuneSimulator, client: DocumentedClient, device_key, rsa_key: rsa.RSAPrivateKey
) -> None:
    text = intune.new_challenge(client.tenant).text
    codes = [
        (await client.call("validateRequest", validation(make_csr(text, key)))).json["code"]
        for key in (device_key, device_key, rsa_key)
    ]
    assert codes == ["Success", "Success", "ChallengeExpired"]
    intune.advance(7200)
    await client.sign_in()
    client.app.token_seconds = 100_000
    await client.sign_in()
    assert (await client.call("validateRequest", validation(make_csr(text, device_key)))).json["code"] == (
        "ChallengeExpired"
    )


async def test_revocations_wait_for_their_result(intune: IntuneSimulator, client: DocumentedClient) -> None:
    wanted = intune.request_revocation(client.tenant, "00:0a:1B", "CN=Issuing CA", "laptops")
    intune.request_revocation(client.tenant, "02", "CN=Other CA")
    both = (await client.call("downloadRevocationRequests", download())).json
    assert "@odata.context" in both
    assert [each["serialNumber"] for each in both["value"]] == ["00:0a:1B", "02"]
    assert len((await client.call("downloadRevocationRequests", download(maximum=1))).json["value"]) == 1
    (own,) = (await client.call("downloadRevocationRequests", download("CN=Issuing CA"))).json["value"]
    assert own == {
        "requestContext": wanted.context,
        "serialNumber": "00:0a:1B",
        "issuerName": "CN=Issuing CA",
        "caConfiguration": "laptops",
    }
    again = {"results": [result(wanted.context, "4102", "busy")]}
    assert (await client.call("uploadRevocationResults", again)).json["value"] is True
    assert wanted.pending
    assert (await client.call("uploadRevocationResults", {"results": [result(wanted.context, "0")]})).status == 200
    assert not wanted.pending
    assert (await client.call("downloadRevocationRequests", download("CN=Issuing CA"))).json["value"] == []
    assert intune.violations == []


async def test_an_upload_may_be_answered_by_text_or_not_recorded(
    intune: IntuneSimulator, client: DocumentedClient
) -> None:
    wanted = intune.request_revocation(client.tenant, "01", "CN=CA")
    await client.call("downloadRevocationRequests", download())
    client.tenant.upload_value = False
    upload = {"results": [result(wanted.context, "CertificateNotFoundError", "unknown serial")]}
    assert (await client.call("uploadRevocationResults", upload)).json["value"] is False
    assert wanted.pending
    client.tenant.upload_value = "true"
    assert (await client.call("uploadRevocationResults", upload)).json["value"] == "true"
    assert [each["errorCode"] for each in wanted.results] == ["CertificateNotFoundError"]
    assert (await client.call("uploadRevocationResults", upload)).status == 200  # the same again, as after a crash
    assert intune.violations == []


async def test_answers_may_come_with_capitals(intune: IntuneSimulator, client: DocumentedClient, csr: bytes) -> None:
    client.tenant.key_case = "pascal"
    validated = await client.call("validateRequest", validation(csr))
    assert validated.json == {"Code": "Success", "ErrorDescription": ""}
    assert (await client.call("successNotification", success(csr))).json["Code"] == "Success"
    intune.revoke_notified(client.tenant)
    downloaded = (await client.call("downloadRevocationRequests", download())).json
    assert downloaded["Value"][0]["SerialNumber"] == "0A1B"
    assert "@odata.context" in downloaded


async def test_what_was_notified_comes_back_in_its_own_words(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes
) -> None:
    await client.call("validateRequest", validation(csr))
    await client.call("successNotification", success(csr))
    request = intune.revoke_notified(client.tenant, "TX-1")
    assert (request.serial_number, request.issuer_name, request.ca_configuration) == (
        "0A1B",
        "CN=Issuing CA",
        "laptops",
    )
    with pytest.raises(IndexError):
        intune.revoke_notified(client.tenant, "TX-2")


def test_a_notice_is_held_against_its_certificate(rsa_key: rsa.RSAPrivateKey, device_key) -> None:
    certificate = app_certificate(rsa_key)
    body = success(make_csr(None, device_key))
    body["notification"] |= {
        "certificateThumbprint": certificate.fingerprint(hashes.SHA1()).hex().upper(),
        "certificateSerialNumber": "0a1b",
        "certificateExpirationDateUtc": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    }
    assert mismatches(body, certificate) == []
    body["notification"]["certificateSerialNumber"] = "0a1c"
    assert len(mismatches(body, certificate)) == 1
