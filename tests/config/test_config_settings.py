"""Settings: file, environment, refusals, and the shipped example against the model."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from scep_server import config
from scep_server.errors import ConfigurationError

EXAMPLE = Path(__file__).parents[2] / "conf" / "scep-server.toml"


@pytest.fixture(autouse=True)
def no_settings_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(config.ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / config.FILE_NAME
    path.write_text(text)
    return path


def test_the_shipped_file_has_every_key_and_only_keys_of_the_model() -> None:
    shipped = tomllib.loads(EXAMPLE.read_text())
    model = {name: set(type(section).model_fields) for name, section in iter(config.Settings())}
    assert {name: set(table) for name, table in shipped.items()} == model


def test_the_shipped_file_says_the_defaults(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, EXAMPLE.read_text())) == config.load(write(tmp_path, ""))


def test_every_key_of_the_shipped_file_is_explained() -> None:
    """A comment or another key stands above each key: none is dropped in without a word."""
    above = ""
    for line in EXAMPLE.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            assert above, f"{line!r} has no comment above it"
        above = line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nlistn = '127.0.0.1:1'", "server.listn: unknown key; did you mean listen?"),
        ("[sever]\nlisten = '127.0.0.1:1'", "sever: unknown key; did you mean server?"),
        ("[log]\nqqq = 1", "log.qqq: unknown key; remove it (known here: level, format)"),
        ("[server]\nlisten = '127.0.0.1'", "write HOST:PORT"),
        ("[server]\nlisten = '::1:80'", "needs brackets"),
        ("[server]\nlisten = 'h:65536'", "write HOST:PORT"),
        ("[server]\nlisten = '0.0.0.0:80'", "set server.public_url"),
        ("[server]\npublic_url = 'scep.example.org'", "write http(s)://HOST"),
        ("[server]\npublic_url = 'https://u:p@scep.example.org'", "write http(s)://HOST"),
        ("[server]\ntls_key = 'k.pem'", "set both or neither"),
        ("[server]\ntrusted_proxies = ['front']", "server.trusted_proxies"),
        ("[server]\nworkers = 0", "server.workers"),
        ("[server]\nmax_body_bytes = '64 KiB'", "server.max_body_bytes"),
        ("[ca]\npassphrase_file = ''", "set one of passphrase_file, passphrase_env, passphrase_credential"),
        ("[ca]\npassphrase_env = 'A'\npassphrase_credential = 'b'", "keep one source"),
        ("[ca]\npassphrase_env = 'A'\npassphrase_file = 'b'", "keep one source"),
        ("[ca]\ncrl_validity_hours = 24\ncrl_renewal_hours = 24", "below crl_validity_hours"),
        ("[ledger]\nurl = 'mysql://x'", "sqlite:///FILE or postgresql+psycopg://"),
        ("[ledger]\npassword_env = 'A'\npassword_file = 'b'", "keep one"),
        ("[redis]\nurl = 'memcached://h'", "redis://HOST[:PORT]"),
        ("[redis]\nurl = 'redis://h/database'", "redis://HOST[:PORT]"),
        ("[redis]\nurl = 'redis://h:65536'", "redis://HOST[:PORT]"),
        ("[redis]\nurl = 'redis://h:port'", "redis://HOST[:PORT]"),
        ("[redis]\nurl = 'redis://h?ssl_cert_reqs=none'", "redis://HOST[:PORT]"),
        ("[redis]\nurl = 'unix://run/redis.sock'", "unix:///PATH"),
        ("[redis]\nurl = 'redis://h'\ncluster_nodes = ['h:1']", "url and cluster_nodes are both set"),
        ("[redis]\nurl = 'redis://h'\nsentinels = ['h:1']\nsentinel_service = 'm'", "url and sentinels are both set"),
        ("[redis]\nsentinels = ['h:1']", "sentinels and sentinel_service belong together"),
        ("[redis]\nurl = 'redis://h'\nsentinel_service = 'm'", "sentinels and sentinel_service belong together"),
        ("[redis]\nurl = 'redis://h'\nsentinel_password_file = 'p'", "sentinel_password_file is for sentinels"),
        ("[redis]\ncluster_nodes = ['h']", "write HOST:PORT"),
        ("[redis]\nusername = 'scep'", "no Redis is named"),
        ("[redis]\nurl = 'redis://h'\ntls = true", "a url says it by rediss://"),
        ("[redis]\nurl = 'redis://h'\nca_file = 'ca.pem'", "TLS is not"),
        ("[redis]\nurl = 'redis://h'\npassword_env = 'A'\npassword_file = 'b'", "keep one"),
        ("[redis]\nurl = 'redis://h'\ntimeout_ms = 0", "redis.timeout_ms"),
        ("[log]\nlevel = 'loud'", "log.level"),
        ("listen = ", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_key_and_remedy(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.load(write(tmp_path, text))
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.load(write(tmp_path, "[server]\nlistn = 'x'\nworkers = 0\n[log]\nlevel = 'loud'"))
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="scep-server init"):
        config.load(tmp_path / "nowhere.toml")


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, "[ca]\ndirectory = 'keys'\n[audit]\nheads = '/var/heads'"))
    assert settings.ca.directory == tmp_path / "keys"
    assert settings.audit.heads == Path("/var/heads")
    assert settings.secrets.key_file == tmp_path / "secrets/challenges.key"
    assert settings.ledger.url == f"sqlite:///{tmp_path}/ledger.sqlite3"


def test_an_absolute_ledger_file_stays(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, "[ledger]\nurl='sqlite:////srv/l.db'")).ledger.url == "sqlite:////srv/l.db"


def test_environment_overrides_single_keys_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCEP_SERVER_SERVER__LISTEN", "127.0.0.1:9999")
    monkeypatch.setenv("SCEP_SERVER_SERVER__TRUSTED_PROXIES", "127.0.0.1, 10.1.2.3/8")
    settings = config.load(write(tmp_path, "[server]\nlisten = '127.0.0.1:1'\nworkers = 3"))
    assert settings.server.listen == "127.0.0.1:9999"
    assert settings.server.workers == 3
    assert settings.server.trusted_proxies == ("127.0.0.1/32", "10.0.0.0/8")


@pytest.mark.parametrize("name", ["SCEP_SERVER_SERVER__LISTN", "SCEP_SERVER_SERVR__LISTEN"])
def test_unknown_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "127.0.0.1:9999")
    with pytest.raises(ConfigurationError, match=r"(?i)listn|servr"):
        config.load(write(tmp_path, ""))


def test_a_whole_section_in_one_variable_must_be_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCEP_SERVER_SERVER", "127.0.0.1:9999")
    with pytest.raises(ConfigurationError, match="set single keys"):
        config.load(write(tmp_path, ""))


def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.load(write(tmp_path, "[ledger]\nurl = 'postgresql+psycopg://scep:hunter2@db/scep'"))
    assert "password_file" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_wrong_value_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.load(write(tmp_path, "[secrets]\nkey = 'hunter2'\n[ledger]\nurl = 'mysql://a:hunter2@b/c'"))
    assert "hunter2" not in str(caught.value)


def test_the_database_password_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("p@ss/word\n")
    settings = config.load(write(tmp_path, "[ledger]\nurl = 'postgresql+psycopg://scep@db/scep'\npassword_file = 'db'"))
    assert settings.ledger.connection_url() == "postgresql+psycopg://scep:p%40ss%2Fword@db/scep"
    assert "ss/word" not in repr(settings)


def test_an_absent_database_password_is_an_error(tmp_path: Path) -> None:
    text = "[ledger]\nurl = 'postgresql+psycopg://scep@db/scep'\npassword_env = 'SCEP_DB_PASSWORD_UNSET'"
    with pytest.raises(ConfigurationError, match="password source is empty"):
        config.load(write(tmp_path, text)).ledger.connection_url()


@pytest.mark.parametrize("user", ["hunter2@", "scep:hunter2@", ":hunter2@"])
def test_a_redis_url_holds_no_user_and_no_password(tmp_path: Path, user: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.load(write(tmp_path, f"[redis]\nurl = 'redis://{user}h'"))
    assert "set username, and password_file" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        ("url = 'redis://h'", False),
        ("url = 'rediss://[::1]:6380/3'\nca_file = 'ca.pem'", True),
        ("url = 'unix:///run/redis/redis.sock'", False),
        ("sentinels = ['a:26379', 'b:26379']\nsentinel_service = 'scep'\ntls = true", True),
        ("cluster_nodes = ['a:6379']", False),
    ],
)
def test_redis_is_reached_in_one_of_several_ways(tmp_path: Path, text: str, encrypted: bool) -> None:
    settings = config.load(write(tmp_path, f"[redis]\n{text}")).redis
    assert settings.enabled
    assert settings.encrypted is encrypted


def test_redis_is_not_used_unless_it_is_named(tmp_path: Path) -> None:
    assert not config.load(write(tmp_path, "")).redis.enabled


def test_cluster_nodes_come_as_a_list_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCEP_SERVER_REDIS__CLUSTER_NODES", "a:6379, b:6379")
    assert config.load(write(tmp_path, "")).redis.cluster_nodes == ("a:6379", "b:6379")


def test_redis_passwords_come_from_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sentinel").write_text("two\n")
    monkeypatch.setenv("REDIS_PASSWORD_OF_A_TEST", "one")
    text = """[redis]
        sentinels = ['a:26379']
        sentinel_service = 'scep'
        sentinel_password_file = 'sentinel'
        password_env = 'REDIS_PASSWORD_OF_A_TEST'
    """
    settings = config.load(write(tmp_path, text)).redis
    assert (settings.password(), settings.sentinel_password()) == ("one", "two")
    monkeypatch.delenv("REDIS_PASSWORD_OF_A_TEST")
    with pytest.raises(ConfigurationError, match="password source is empty"):
        settings.password()
    (tmp_path / "sentinel").unlink()
    with pytest.raises(ConfigurationError, match=r"redis\.sentinel_password_file: cannot read"):
        settings.sentinel_password()


def test_urls_are_made_from_the_listener_or_the_public_url(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, "")).scep_url("default") == "http://127.0.0.1:8080/scep/default"
    tls = "[server]\nlisten = '[::1]:8443'\ntls_certificate = 'c'\ntls_key = 'k'"
    assert config.load(write(tmp_path, tls)).public_url == "https://[::1]:8443"
    public = "[server]\nlisten = '0.0.0.0:8080'\npublic_url = 'https://scep.example.org/pki/'"
    assert config.load(write(tmp_path, public)).scep_url("jamf") == "https://scep.example.org/pki/scep/jamf"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("passphrase_env = 'P'", ("env", "P")),
        ("passphrase_file = ''\npassphrase_credential = 'ca'", ("credential", "ca")),
    ],
)
def test_the_passphrase_has_one_source(tmp_path: Path, text: str, source: tuple[str, str]) -> None:
    assert config.load(write(tmp_path, f"[ca]\n{text}")).ca.passphrase_source == source


def test_the_passphrase_is_in_its_file_by_default(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, "")).ca.passphrase_source == ("file", f"{tmp_path}/secrets/ca-passphrase")
