"""The commands around the challenges that MDMs use: added, shown once, changed, minted."""

from __future__ import annotations

import base64
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from challenge_plugins.dynamic.settings import MAX_LIFETIME_MINUTES
from tests.cli import program
from tests.cli.program import Quickstart, json_lines, succeed
from tests.e2e.polling import until
from tests.e2e.redis_server import RedisProcess
from tests.house.tree import ROOT

CHALLENGE = re.compile(r"[0-9A-F]{32}")
TENANT = ("--setting", "tenant=contoso.example", "--setting", "client_id=11111111-2222-3333-4444-555555555555")


@pytest.fixture(scope="module")
def dynamic(site: Quickstart) -> dict[str, Any]:
    """A dynamic integration, as --json told it."""
    add = ("integration", "add", "minting", "--challenge", "dynamic", "--data", site.data, "--json")
    (record,) = json_lines(succeed(*add))
    site.until_served("minting")
    return record


def refused(site: Quickstart, *arguments: object, stdin: str | None = None, **extra: str) -> str:
    """The one error line of a command that must fail and print no result."""
    done = program.call(*arguments, "--data", site.data, stdin=stdin, **extra)
    assert (done.returncode != 0, done.stdout) == (True, "")
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    return error


def test_adding_a_dynamic_one_tells_exactly_what_its_mdm_needs(site: Quickstart, dynamic: dict[str, Any]) -> None:
    assert list(dynamic) == ["integration", "scep_url", "challenge_url", "username", "password"]
    assert dynamic["challenge_url"] == f"{dynamic['scep_url']}/mscep_admin/"
    assert dynamic["password"] not in succeed("integration", "show", "minting", "--reveal", "--data", site.data)


def test_the_hint_says_whether_a_secret_can_be_seen_again(site: Quickstart) -> None:
    kept = succeed("integration", "add", "hint-kept", "--challenge", "static", "--data", site.data)
    assert f"Shown once; later with `scep-server integration show hint-kept --reveal --data {site.data}`." in kept
    once = succeed("integration", "add", "hint-once", "--challenge", "dynamic", "--data", site.data)
    assert f"Shown once; `scep-server integration rotate-secret hint-once --data {site.data}` makes new ones." in once
    assert "--reveal" not in once


def test_a_plugin_that_is_given_its_secret_shows_none(site: Quickstart, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("entra-app-secret\n")
    add = ("integration", "add", "entra", "--challenge", "intune", *TENANT, "--secret-file", file)
    text = succeed(*add, "--data", site.data)
    assert "entra-app-secret" not in text
    assert "Shown once" not in text
    assert "keeps no secret" in refused(site, "integration", "show", "entra", "--reveal")


@pytest.mark.parametrize("source", ["file", "environment", "stdin"])
def test_a_setting_can_be_read_from_where_nobody_sees_it(site: Quickstart, tmp_path: Path, source: str) -> None:
    file = tmp_path / "secret"
    file.write_text("a-signing-secret-of-a-receiver-0123456789\n")
    options = {
        "file": ("--setting-file", f"signing_secret={file}"),
        "environment": ("--setting-env", "signing_secret=HOOK_SECRET"),
        "stdin": ("--setting-file", "signing_secret=-"),
    }
    name = f"hook-{source}"
    add = ("integration", "add", name, "--challenge", "webhook", "--setting", "url=https://hook.example/", "--json")
    done = program.call(
        *add, *options[source], "--data", site.data, stdin=file.read_text(), HOOK_SECRET=file.read_text().strip()
    )
    assert done.returncode == 0, done.stderr
    (shown,) = json_lines(succeed("integration", "show", name, "--reveal", "--json", "--data", site.data))
    assert shown["signing_secret"] == file.read_text().strip()


@pytest.mark.parametrize(
    ("challenge", "options", "says"),
    [
        ("static", ("--setting", "challenge=0123456789ABCDEF"), "--setting-file challenge=PATH"),
        ("intune", (*TENANT, "--setting", "client_secret=s"), "with --secret-file or --secret-env"),
        ("webhook", ("--setting", "authorization=Bearer x"), "--setting-env authorization=NAME"),
        ("dynamic", ("--secret", "0123456789ABCDEF"), "takes no secret"),
        ("dynamic", ("--setting", "lifetme_minutes=5"), "lifetime_minutes"),
        ("dynamic", ("--setting", "lifetime_minutes"), "KEY=VALUE"),
        ("dynamic", ("--setting", "drop_old=yes"), "rotate-secret --drop-old"),
        ("dynamic", ("--option", "lifetime_minutes=5"), "use --setting lifetime_minutes="),
        ("dynamic", ("--setting", "lifetime_days=5"), "use --option lifetime_days="),
        ("intune", (*TENANT, "--secret-env", "ONE", "--setting-env", "client_secret=ONE"), "given twice"),
        ("intune", (*TENANT, "--setting-env", "client_secret=NOT_SET"), "client_secret is empty"),
        ("intune", (*TENANT, "--setting-file", "client_secret=/nonexistent"), "cannot be read"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_remedy(
    site: Quickstart, challenge: str, options: tuple[str, ...], says: str
) -> None:
    error = refused(site, "integration", "add", "never", "--challenge", challenge, *options, ONE="0123456789ABCDEF")
    assert says in error
    assert "0123456789ABCDEF" not in error
    assert "never" not in succeed("integration", "list", "--data", site.data)


def test_a_setting_changes_and_the_password_stays(site: Quickstart, dynamic: dict[str, Any]) -> None:
    change = ("integration", "set", "minting", "--setting", "lifetime_minutes=5", "--data", site.data, "--json")
    (record,) = json_lines(succeed(*change))
    assert (record["integration"], record["version"]) == ("minting", 2)
    (minted,) = json_lines(succeed("challenge", "mint", "minting", "--json", "--data", site.data))
    assert set(minted) == {"challenge", "expires_at"}
    until(lambda: "expire within 5 minutes" in _page(dynamic), 30, "the change did not reach the server")


def test_nothing_to_change_is_said(site: Quickstart, dynamic: dict[str, Any]) -> None:
    assert "--setting KEY=VALUE" in refused(site, "integration", "set", dynamic["integration"])
    assert "lifetime_minutes" in refused(
        site, "integration", "set", dynamic["integration"], "--setting", "lifetime_minutes=never"
    )


def test_mint_prints_challenges_and_nothing_else(site: Quickstart, dynamic: dict[str, Any]) -> None:
    done = program.call("challenge", "mint", dynamic["integration"], "--count", "7", "--data", site.data)
    lines = done.stdout.splitlines()
    assert (len(lines), len(set(lines)), done.stderr) == (7, 7, "")
    assert all(CHALLENGE.fullmatch(line) for line in lines)


def test_more_than_one_batch_is_minted(site: Quickstart, dynamic: dict[str, Any]) -> None:
    minted = succeed("challenge", "mint", dynamic["integration"], "--count", "501", "--data", site.data).splitlines()
    assert len(set(minted)) == 501


def test_a_bound_challenge_admits_its_names_only(site: Quickstart, dynamic: dict[str, Any], tmp_path: Path) -> None:
    bound = ("--subject", "CN=mine,O=Example", "--san", "dns:mine.example.org", "--lifetime", "30", "--uses", "1")
    (challenge,) = succeed("challenge", "mint", dynamic["integration"], *bound, "--data", site.data).splitlines()
    program_enroll = ("client", "enroll", "--url", dynamic["scep_url"], "--key-type", "p256")
    other = program.call(
        *program_enroll, "--out", tmp_path / "other", "--subject", "CN=other", SCEP_CHALLENGE=challenge
    )
    assert other.returncode == 3, other.stderr
    mine = program.call(
        *program_enroll, "--out", tmp_path / "mine", "--subject", "CN=mine,O=Example", SCEP_CHALLENGE=challenge
    )
    assert mine.returncode == 0, mine.stderr
    again = program.call(
        *program_enroll, "--out", tmp_path / "again", "--subject", "CN=mine,O=Example", SCEP_CHALLENGE=challenge
    )
    assert again.returncode == 3, again.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("default",), "mints no challenges"),
        (("nope",), "there is no integration"),
        (("minting", "--san", "host.example.org"), "TYPE:VALUE"),
        (("minting", "--subject", "no name"), "subject"),
        (("minting", "--device-id", "abc"), "4 to 255 characters of A-Z"),
        (("minting", "--san", "ip:192.0.2.1", "--san", "dns:a.example"), "--option san_types=dns,email,ip,uri"),
        (("minting", "--count", "2", "--transaction-id", "t"), "one challenge"),
        (("minting", "--transaction-id", "t"), "kept_for_ec"),
    ],
)
@pytest.mark.usefixtures("dynamic")
def test_what_cannot_be_minted_is_said(site: Quickstart, options: tuple[str, ...], says: str) -> None:
    assert says in refused(site, "challenge", "mint", *options)


def test_a_reached_ceiling_is_said_with_what_raises_it(site: Quickstart) -> None:
    one = ("--setting", "ceiling=1")
    succeed("integration", "add", "ceiling", "--challenge", "dynamic", *one, "--data", site.data)
    succeed("challenge", "mint", "ceiling", "--data", site.data)
    error = refused(site, "challenge", "mint", "ceiling")
    assert "its ceiling is 1" in error
    assert "`scep-server integration set ceiling --setting ceiling=NUMBER`" in error


def test_types_lists_each_plugin_with_its_settings() -> None:
    known = {one["challenge_type"]: one for one in json_lines(succeed("integration", "types", "--json"))}
    assert {"dynamic", "intune", "jamf", "static", "webhook"} <= set(known)
    secrets = {one["name"] for one in known["intune"]["settings"] if one["secret"]}
    assert secrets == {"client_secret", "client_certificate"}
    assert known["dynamic"]["addresses"] == {
        "challenge_url": "/scep/NAME/mscep_admin/",
        "json_url": "/scep/NAME/challenges",
    }
    text = succeed("integration", "types", "intune")
    assert "client_secret (secret: --secret-file, --secret-env)" in text
    assert "client_certificate (secret: --setting-file, --setting-env)" in text
    assert "tenant (required)" in text
    assert "lifetime_minutes" not in text
    done = program.call("integration", "types", "nope")
    assert (done.returncode, "installed: dynamic" in done.stderr) == (1, True)


def test_what_has_no_service_behind_it_is_not_tested(site: Quickstart, dynamic: dict[str, Any]) -> None:
    assert "nothing to test" in refused(site, "integration", "test", "default")
    assert "no revocations to fetch" in refused(site, "integration", "sync", dynamic["integration"])


def test_settings_can_be_read_back_and_no_secret_with_them(site: Quickstart, tmp_path: Path) -> None:
    gateway = tmp_path / "gateway"
    gateway.write_text("Bearer of-the-gateway")
    given = ("--setting", "url=https://hook.example/", "--setting-file", f"authorization={gateway}")
    succeed("integration", "add", "readable", "--challenge", "webhook", *given, "--data", site.data)
    change = ("integration", "set", "readable", "--setting", "notify=off", "--data", site.data, "--json")
    (changed,) = json_lines(succeed(*change))
    (shown,) = json_lines(succeed("integration", "show", "readable", "--json", "--data", site.data))
    assert changed["settings"] == shown["settings"]
    assert shown["settings"] == {
        "url": "https://hook.example/",
        "timeout_seconds": "10",
        "retries": "1",
        "send_challenge": "on",
        "notify": "off",
        "notify_url": "https://hook.example/",
        "require_signed_answer": "off",
    }
    lines = succeed("integration", "show", "readable", "--data", site.data).splitlines()
    assert ["settings.notify", "off"] in [line.split() for line in lines]
    (static,) = json_lines(succeed("integration", "show", "default", "--json", "--data", site.data))
    assert static["settings"] == {}


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        ("dynamic", {"ceiling": "7"}, {"ceiling": "7", "lifetime_minutes": "60", "token": "off"}),
        ("dynamic", {"username": "mdm"}, {"username": "mdm", "ceiling": "off"}),
        ("jamf", {"auth": "header"}, {"auth": "header", "header_name": "X-SCEP-Webhook-Key", "bind_device": "on"}),
        (
            "intune",
            {"tenant": "contoso.example", "client_id": "11111111-2222-3333-4444-555555555555"},
            {"tenant": "contoso.example", "revocation": "on", "timeout_seconds": "15"},
        ),
    ],
)
def test_every_plugin_tells_what_it_works_with(
    site: Quickstart, kind: str, given: dict[str, str], told: dict[str, str]
) -> None:
    name = f"told-{kind}-{next(iter(given))}"
    settings = [part for key, value in given.items() for part in ("--setting", f"{key}={value}")]
    secret = ("--secret-env", "APP_SECRET") if kind == "intune" else ()
    succeed(
        *("integration", "add", name, "--challenge", kind, *settings, *secret, "--data", site.data),
        APP_SECRET="entra-app-secret",
    )
    (shown,) = json_lines(succeed("integration", "show", name, "--json", "--data", site.data))
    assert shown["settings"].items() >= told.items()
    assert "entra-app-secret" not in str(shown)
    assert "" not in shown["settings"].values()


def test_a_generated_user_name_is_a_setting_in_force(site: Quickstart, dynamic: dict[str, Any]) -> None:
    (shown,) = json_lines(succeed("integration", "show", dynamic["integration"], "--json", "--data", site.data))
    assert shown["settings"]["username"] == dynamic["username"]


def test_the_longest_lifetime_is_the_same_everywhere(site: Quickstart, dynamic: dict[str, Any]) -> None:
    mint = ("challenge", "mint", dynamic["integration"], "--data", site.data, "--lifetime")
    assert CHALLENGE.fullmatch(succeed(*mint, MAX_LIFETIME_MINUTES).strip())
    done = program.call(*mint, MAX_LIFETIME_MINUTES + 1)
    assert (done.returncode, done.stdout, str(MAX_LIFETIME_MINUTES) in done.stderr) == (2, "", True)


def test_a_disabled_integration_mints_with_a_warning_and_fails_its_test(site: Quickstart) -> None:
    succeed("integration", "add", "off", "--challenge", "dynamic", "--data", site.data)
    first = succeed("integration", "test", "off", "--data", site.data).splitlines()[0]
    assert first.split() == ["ok", "integration", "enabled"]
    succeed("integration", "set", "off", "--disable", "--data", site.data)
    minted = program.call("challenge", "mint", "off", "--data", site.data)
    assert CHALLENGE.fullmatch(minted.stdout.strip())
    assert "warning: off is disabled" in minted.stderr
    assert f"`scep-server integration set off --enable --data {site.data}`" in minted.stderr
    tried = program.call("integration", "test", "off", "--data", site.data)
    assert tried.returncode == 1
    assert tried.stdout.splitlines()[0].startswith("FAILED  integration ")
    assert "`scep-server integration set off --enable`" in tried.stdout.splitlines()[1]
    (record,) = json_lines(program.call("integration", "test", "off", "--json", "--data", site.data).stdout)
    assert [one["passed"] for one in record["findings"]] == [False, True, True, True]
    assert [one["remedy"] for one in record["findings"][1:]] == [None, None, None]


def test_a_secret_is_shown_to_whom_it_is_for(site: Quickstart) -> None:
    def added(name: str, kind: str, *more: object) -> str:
        return succeed("integration", "add", name, "--challenge", kind, *more, "--data", site.data)

    mdm = added("panel-static", "static")
    assert "Put these into the MDM" in mdm
    assert "json_url" not in added("panel-dynamic", "dynamic")
    token = added("panel-token", "dynamic", "--setting", "token=on")
    assert f"{site.scep_url('panel-token')}/challenges" in token
    receiver = added("panel-hook", "webhook", "--setting", "url=https://hook.example/")
    assert ("Give this to your receiver" in receiver, "MDM" in receiver.splitlines()[0]) == (True, False)
    assert receiver.splitlines()[-1] == f"Next: scep-server integration test panel-hook --data {site.data}"
    entra = succeed(
        *("integration", "add", "panel-intune", "--challenge", "intune", *TENANT, "--secret-env", "APP"),
        *("--data", site.data),
        APP="entra-app-secret",
    )
    assert ("Put these" in entra, entra.splitlines()[-1].startswith("Next: ")) == (False, True)
    assert "Next: " not in mdm


def test_rotating_says_when_the_old_secret_ends_and_set_ends_it(site: Quickstart) -> None:
    succeed("integration", "add", "ends", "--challenge", "static", "--data", site.data)
    rotated = succeed("integration", "rotate-secret", "ends", "--data", site.data)
    assert "stays valid until the next rotation" in rotated
    assert f"`scep-server integration set ends --drop-old --data {site.data}`" in rotated

    def revealed() -> dict[str, Any]:
        return json_lines(succeed("integration", "show", "ends", "--reveal", "--json", "--data", site.data))[0]

    before = revealed()
    assert "previous_challenge" in before
    succeed("integration", "set", "ends", "--drop-old", "--data", site.data)
    after = revealed()
    assert (after["challenge"], "previous_challenge" in after) == (before["challenge"], False)
    dropped = succeed("integration", "rotate-secret", "ends", "--drop-old", "--data", site.data)
    assert "stays valid" not in dropped
    assert "End the secret before" in succeed("integration", "set", "--help")


def test_a_redis_that_is_down_is_named_with_its_section(site: Quickstart, dynamic: dict[str, Any]) -> None:
    down = {"SCEP_SERVER_REDIS__URL": "redis://127.0.0.1:1"}
    tried = program.call("integration", "test", dynamic["integration"], "--data", site.data, **down)
    assert tried.returncode == 1
    assert "section [redis]: url" in tried.stdout
    assert "password_file" in tried.stdout
    checked = program.call("check", "--data", site.data, "--json", **down)
    assert checked.returncode == 5
    assert json_lines(checked.stdout)[0]["redis"] == "does not answer"
    assert "section [redis]" in checked.stderr
    mint = program.call("challenge", "mint", dynamic["integration"], "--data", site.data, **down)
    assert (mint.returncode, mint.stdout) == (5, "")
    assert "; start that Redis, or correct section [redis] (" in mint.stderr


def test_check_asks_redis_with_what_its_user_may(site: Quickstart, tmp_path: Path) -> None:
    documented = next(
        line for line in (ROOT / "docs/operations.md").read_text().splitlines() if line.startswith("user scep on ")
    )
    users = tmp_path / "users.acl"
    users.write_text(documented.replace(">PASSWORD", ">of-redis") + "\nuser default on nopass ~* &* +@all\n")
    password = tmp_path / "password"
    password.write_text("of-redis")
    password.chmod(0o600)
    with RedisProcess("--aclfile", str(users)) as redis:
        reached = {"SCEP_SERVER_REDIS__URL": redis.url, "SCEP_SERVER_REDIS__USERNAME": "scep"}
        reached["SCEP_SERVER_REDIS__PASSWORD_FILE"] = str(password)
        (record,) = json_lines(succeed("check", "--data", site.data, "--json", **reached))
        assert record["redis"] == "answers"
        password.write_text("another")
        refused_by_it = program.call("check", "--data", site.data, **reached)
    assert (refused_by_it.returncode, "password is not accepted" in refused_by_it.stderr) == (5, True)
    assert "redis" not in json_lines(succeed("check", "--data", site.data, "--json"))[0]


def test_an_address_that_leads_nowhere_is_told_in_our_own_words(site: Quickstart) -> None:
    wrong = program.call("client", "ca", "--url", site.scep_url("nobody-made-it"))
    assert "no integration of this name at that address" in wrong.stderr
    nobody = program.call("client", "ca", "--url", "http://127.0.0.1:1/")
    assert nobody.stderr == "error: http://127.0.0.1:1/ cannot be reached: Connection refused (127.0.0.1 port 1)\n"
    plain = site.scep_url("default").replace("http:", "https:")
    tls = program.call("client", "ca", "--url", plain)
    assert (tls.returncode, "SSLContext" in tls.stderr, "--tls-ca" in tls.stderr) == (1, False, True)


def _page(dynamic: dict[str, Any]) -> str:
    """The running server's page, with a new challenge."""
    login = base64.b64encode(f"{dynamic['username']}:{dynamic['password']}".encode()).decode()
    request = urllib.request.Request(dynamic["challenge_url"], headers={"Authorization": f"Basic {login}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())
