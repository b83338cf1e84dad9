"""init: a new CA, a taken-over CA, and everything it refuses to overwrite; then what audit verify sees of tampering."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli import program
from tests.cli.program import json_lines, succeed
from tests.conftest import find_program


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that init filled, with one integration."""
    data = tmp_path_factory.mktemp("init") / "data"
    arguments = ("--key-type", "p256", "--public-url", "http://ca.example.org", "--root-name", "Our Root")
    (record,) = json_lines(succeed("init", "--data", data, *arguments, "--json"))
    assert record["config"] == str(data / "scep-server.toml")
    succeed("integration", "add", "first", "--challenge", "static", "--data", data)
    return data


def test_it_is_complete(made: Path) -> None:
    (found,) = json_lines(succeed("check", "--config", made / "scep-server.toml", "--json"))
    assert found["integrations"] == ["first"]
    assert found["public_url"] == "http://ca.example.org"
    assert "CN=Our Root" in succeed("explain", made / "ca" / "root.pem")


def test_a_ca_is_never_overwritten(made: Path) -> None:
    before = {path: path.read_bytes() for path in (made / "ca").iterdir()}
    done = program.call("init", "--data", made, "--key-type", "p256")
    assert done.returncode == 1
    assert "never overwritten" in done.stderr
    assert {path: path.read_bytes() for path in (made / "ca").iterdir()} == before


def test_a_missing_ledger_is_made_again_only_when_told(made: Path, tmp_path: Path) -> None:
    text = (made / "scep-server.toml").read_text()
    config = made / "second.toml"
    config.write_text(
        f"{text}\n[ledger]\nurl = 'sqlite:///{tmp_path}/new.sqlite3'\n[audit]\nheads = '{tmp_path}/heads'\n"
    )
    done = program.call("integration", "list", "--config", config)
    assert (done.returncode, "does not exist" in done.stderr) == (1, True)
    assert not (tmp_path / "new.sqlite3").exists()
    succeed("init", "--config", config, "--keep-ca")
    assert json_lines(succeed("integration", "list", "--config", config, "--format", "jsonl")) == []


def pem_of(made: Path, _: Path) -> tuple[object, ...]:
    """The issuing CA of a folder as options of init: key and certificates in PEM files."""
    chain = ("--import-chain", made / "ca" / "issuing.pem", "--import-chain", made / "ca" / "root.pem")
    passphrase = ("--import-passphrase-file", made / "secrets" / "ca-passphrase")
    return ("--import-key", made / "ca" / "issuing.key.pem", *chain, *passphrase)


def pkcs12_of(made: Path, scratch: Path) -> tuple[object, ...]:
    """The same as one PKCS#12 file, by OpenSSL."""
    file, new, passphrase = scratch / "ca.p12", scratch / "passphrase", made / "secrets" / "ca-passphrase"
    new.write_text("the old CA's own\n")
    new.chmod(0o600)
    folder = made / "ca"
    command = [str(find_program("openssl", "openssl")), "pkcs12", "-export", "-out", str(file)]
    command += ["-inkey", str(folder / "issuing.key.pem"), "-in", str(folder / "issuing.pem")]
    command += ["-certfile", str(folder / "root.pem"), "-passin", f"file:{passphrase}", "-passout", f"file:{new}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    file.chmod(0o600)
    return ("--import-p12", file, "--import-passphrase-file", new)


@pytest.mark.parametrize("form", [pem_of, pkcs12_of])
def test_an_existing_ca_is_taken_over(
    made: Path, tmp_path: Path, form: Callable[[Path, Path], tuple[object, ...]]
) -> None:
    (record,) = json_lines(succeed("init", "--data", tmp_path / "data", *form(made, tmp_path), "--json"))
    (other,) = json_lines(succeed("check", "--data", made, "--json"))
    assert record["issuing_ca_sha256"] == other["issuing_ca_sha256"]
    assert not (tmp_path / "data" / "ca" / "root.key.pem").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--import-key", "k.pem"), 2, "belong together"),
        (("--import-p12", "k.p12", "--import-key", "k.pem"), 2, "leave --import-key"),
        (("--keep-ca", "--import-p12", "k.p12"), 2, "--keep-ca"),
        (("--key-type", "rsa1024"), 1, "rsa2048"),
        (("--key-type", "p256", "--scep-identity", "ca"), 1, "RSA"),
        (("--ra-key-type", "p256"), 1, "RSA"),
        (("--public-url", "ca.example.org"), 1, "http(s)://"),
    ],
)
def test_what_init_refuses(tmp_path: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = program.call("init", "--data", tmp_path / "data", *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert not (tmp_path / "data" / "ca").exists()
    assert not (tmp_path / "data" / "scep-server.toml").exists()


def test_a_weakened_key_file_is_refused(made: Path) -> None:
    key = made / "ca" / "issuing.key.pem"
    key.chmod(0o640)
    try:
        done = program.call("check", "--data", made)
    finally:
        key.chmod(0o600)
    assert done.returncode == 1
    assert "issuing.key.pem" in done.stderr


def test_audit_verify_names_a_cut_tail(made: Path) -> None:
    """Last in this file: it damages the ledger."""
    succeed("audit", "verify", "--data", made)
    with sqlite3.connect(made / "ledger.sqlite3") as ledger:
        tables = [row[0] for row in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        (events,) = (table for table in tables if "event" in table)
        assert ledger.execute(f"DELETE FROM {events} WHERE seq = (SELECT max(seq) FROM {events})").rowcount == 1
    done = program.call("audit", "verify", "--data", made)
    assert done.returncode == 3
    assert "tail was cut" in done.stdout
    assert "not whole" in done.stderr
