"""`integration test`: each step, what is wrong with it, and the page of the admin center where that is mended."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msal
import pytest

from challenge_plugins.intune import remedies
from scep_server import errors
from scep_server.errors import OutboundFault
from scep_server.types import Finding
from tests.plugins.intune_connection import SECRET, Connection, app_pem, connection
from tests.simulators.intune import Fault

GRAPH, INTUNE = "token for Microsoft Graph", "token for Intune"
VALIDATION, REVOCATION = "service for SCEP validation", "service for revocation"
PERMISSION = "permission to use Intune"


@pytest.fixture
async def corp(make_house, tmp_path: Path) -> AsyncIterator[Connection]:
    async with connection(make_house, tmp_path) as made:
        yield made
        assert made.intune.violations == []


async def first_failure(corp: Connection, **options: str) -> Finding:
    findings = await corp.load(**options).check()
    assert SECRET not in repr(findings)
    assert all(finding.remedy for finding in findings if not finding.passed)
    return next(finding for finding in findings if not finding.passed)


async def test_a_good_connection_passes_every_step_and_changes_nothing(corp: Connection) -> None:
    asked = corp.intune.request_revocation(corp.tenant, "0A", "CN=Corp CA", "corp")
    findings = await corp.load(issuer_name="CN=Corp CA").check()
    assert [finding.step for finding in findings] == [GRAPH, INTUNE, VALIDATION, REVOCATION, PERMISSION]
    assert all(finding.passed and not finding.remedy for finding in findings)
    assert asked.pending
    assert "uploadRevocationResults" not in corp.operations()
    assert corp.intune.calls("downloadRevocationRequests")[0].json["downloadParameters"]["maxRequests"] == 1


async def test_nothing_learned_before_counts(corp: Connection) -> None:
    plugin = corp.load()
    await plugin.check()
    corp.app.secret = "rotated in Entra"
    assert not (await plugin.check())[0].passed
    corp.app.secret = SECRET
    assert all(finding.passed for finding in await plugin.check())


async def test_what_entra_says_about_app_tenant_and_consent_has_its_remedy(corp: Connection) -> None:
    other = corp.app.client_id[:-4] + "0000"
    for options, code, remedy in (
        ({"client_secret": "its-id-instead"}, "AADSTS7000215", "copy its Value, not its Secret ID"),
        ({"client_id": other}, "AADSTS700016", "Application (client) ID"),
        ({"tenant": "nobody.example.com"}, "AADSTS90002", "Tenant ID"),
    ):
        finding = await first_failure(corp, **options)
        assert finding.step == GRAPH
        assert code in finding.text
        assert remedy in finding.remedy
    corp.app.secret_expired = True
    expired = await first_failure(corp)
    assert "AADSTS7000222" in expired.text
    assert "rotate-secret" in expired.remedy
    corp.app.secret_expired, corp.app.consented = False, False
    assert "Grant admin consent" in (await first_failure(corp)).remedy


async def test_a_wrong_scope_fails_at_intune_only(corp: Connection) -> None:
    finding = await first_failure(corp, intune_scope_base="https://api.manage.microsoft.com")
    assert finding.step == INTUNE
    assert "AADSTS500011" in finding.text
    assert "intune_scope_base" in finding.remedy


async def test_codes_the_simulator_does_not_have_are_told_too(corp: Connection) -> None:
    for number, remedy in ((53003, "Conditional Access"), (7000112, "Enterprise applications"), (16000, "code=16000")):
        answer = {"error": "invalid_grant", "error_description": f"AADSTS{number}: words", "error_codes": [number]}
        planned = corp.intune.fail("token", Fault.answering(400, answer), times=None)
        finding = await first_failure(corp)
        assert f"AADSTS{number}" in finding.text
        assert remedy in finding.remedy
        corp.intune.faults.lift(planned.number)


async def test_missing_permissions_and_licence_are_told_apart_where_they_can_be(corp: Connection) -> None:
    both = set(corp.app.roles)
    corp.app.roles = both - {"Application.Read.All"}
    graph = await first_failure(corp)
    assert graph.step == VALIDATION
    assert "403" in graph.text
    assert "Application.Read.All" in graph.remedy
    corp.app.roles = both - {"scep_challenge_provider"}
    role = await first_failure(corp)
    assert role.step == VALIDATION
    assert "scep_challenge_provider" in role.remedy
    corp.app.roles, corp.tenant.licensed = both, False
    licence = await first_failure(corp)
    assert "ScepRequestValidationFEService" in licence.text
    assert "licence" in licence.remedy


async def test_a_service_that_does_not_take_the_token_names_the_role(corp: Connection) -> None:
    corp.intune.fail("downloadRevocationRequests", Fault.with_status(403))
    finding = await first_failure(corp)
    assert finding.step == PERMISSION
    assert "scep_challenge_provider" in finding.remedy


async def test_a_missing_revocation_service_matters_only_where_it_is_used(corp: Connection) -> None:
    planned = corp.intune.fail("endpoints", Fault.omitting("PkiConnectorFEService"), times=None)
    assert (await first_failure(corp)).step == REVOCATION
    findings = await corp.load(revocation="off").check()
    assert [finding.step for finding in findings] == [GRAPH, INTUNE, VALIDATION]
    assert all(finding.passed for finding in findings)
    corp.intune.faults.lift(planned.number)


async def test_an_expired_client_certificate_is_told_before_entra_does(corp: Connection) -> None:
    pem, certificate = app_pem(days=-1)
    corp.app.certificates.append(certificate)
    finding = await first_failure(corp, client_secret="", client_certificate=pem)
    assert finding.step == "client certificate"
    assert "upload it" in finding.remedy
    # The command that takes a certificate: the one for a secret would be refused.
    assert "rotate-secret NAME --setting-file client_certificate=FILE" in finding.remedy
    corp.app.certificates.clear()
    pem, _ = app_pem()
    unknown = await first_failure(corp, client_secret="", client_certificate=pem)
    assert "AADSTS700027" in unknown.text
    assert "without its key" in unknown.remedy


async def test_what_stands_between_us_and_microsoft_is_told(corp: Connection, make_house, unused_tcp_port: int) -> None:
    refused = await first_failure(corp, authority=f"https://127.0.0.1:{unused_tcp_port}/")
    assert "firewall" in refused.remedy
    corp.house = make_house()
    untrusted = await first_failure(corp)
    assert "ca_file" in untrusted.remedy


@pytest.mark.parametrize("kind", ["name", "refused", "tls", "timeout", "cut", "proxy", "other"])
def test_a_way_that_does_not_lead_to_microsoft_is_for_the_operator_to_mend(kind: str) -> None:
    assert "[outbound]" in remedies.remedy(OutboundFault(kind, "no route to host"), forbidden="")


async def test_what_graph_and_intune_do_not_know_is_told_apart(corp: Connection) -> None:
    planned = corp.intune.fail("endpoints", Fault.with_status(404), times=None)
    unknown = await first_failure(corp)
    assert unknown.step == VALIDATION
    assert "intune_app_id" in unknown.remedy
    corp.intune.faults.lift(planned.number)
    corp.intune.fail("downloadRevocationRequests", Fault.with_status(400))
    refused = await first_failure(corp)
    assert (refused.step, refused.remedy) == (PERMISSION, remedies.LATER)


@pytest.mark.parametrize("missing", ["requests", "msal"])
async def test_a_library_that_is_missing_here_is_not_put_on_microsoft(
    corp: Connection, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == msal.__name__]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    findings = await corp.load().check()
    assert [(finding.step, finding.passed) for finding in findings] == [(GRAPH, False), (INTUNE, False)]
    for finding in findings:
        assert "msal, which asks Entra ID for tokens, cannot be loaded" in finding.text
        assert f"no Python module {missing}" in finding.text
        assert "pip check" in finding.remedy
    with pytest.raises(errors.Fault, match=f"msal.* cannot be loaded.* {missing}"):
        await corp.load().redeem(corp.attempt())
    assert corp.operations() == []


async def test_a_library_that_was_mended_is_loaded_by_the_next_request(
    corp: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = corp.load()
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "msal", None)
        with pytest.raises(errors.Fault, match="cannot be loaded"):
            await plugin.redeem(corp.attempt())
    await plugin.redeem(corp.attempt())
