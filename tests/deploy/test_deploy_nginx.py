"""The shipped nginx configuration in a real nginx, on loopback ports, in front of the real program."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device, ec_key
from tests.e2e.replies import read_reply
from tests.e2e.server import ScepServer, free_port

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "scep-server.conf"
CLIENT = "127.0.0.2"
"""Loopback too, but not the address that nginx itself connects from."""

FRAME = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/scep-server.conf;
}}
"""


@dataclass
class Front:
    """nginx with our configuration, and the server behind it."""

    server: ScepServer
    folder: Path
    https: int
    http: int

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    ) -> tuple[int, bytes]:
        """One exchange over TLS from CLIENT; status and body."""
        context = ssl.create_default_context(cafile=str(self.folder / "tls.pem"))
        context.minimum_version = context.maximum_version = tls
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.https, context=context, timeout=20, source_address=(CLIENT, 0)
        )
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def plain(self, target: str, method: str = "GET") -> tuple[int, bytes]:
        """One exchange without TLS."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=20)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @property
    def path(self) -> str:
        """Path of the default integration."""
        return urllib.parse.urlsplit(self.server.url).path


def make_tls(folder: Path) -> None:
    """A certificate for 127.0.0.1, its own issuer."""
    key, now = ec_key(90), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "front end")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def for_this_machine(text: str, folder: Path, https: int, http_port: int, upstream: int) -> str:
    """The shipped configuration with this machine's ports and paths; every other line as it is."""
    for shipped, here in {
        "listen [::]:443 ssl;": "",
        "listen [::]:80;": "",
        "listen 443 ssl;": f"listen 127.0.0.1:{https} ssl;",
        "listen 80;": f"listen 127.0.0.1:{http_port};",
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{upstream};",
        "/etc/nginx/tls/scep.example.org.pem": f"{folder}/tls.pem",
        "/etc/nginx/tls/scep.example.org.key": f"{folder}/tls.key",
        "/var/log/nginx/": f"{folder}/",
    }.items():
        assert shipped in text, shipped
        text = text.replace(shipped, here)
    return text


@pytest.fixture(scope="module")
def front(require_program: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    program = require_program("nginx", "nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    make_tls(folder)
    https, http_port = free_port(), free_port()
    server = ScepServer(
        folder / "data",
        environment={"SCEP_SERVER_SERVER__TRUSTED_PROXIES": "127.0.0.1"},
    )
    with server:
        shipped = SHIPPED.read_text()
        (folder / "scep-server.conf").write_text(for_this_machine(shipped, folder, https, http_port, server.port))
        frame = ("user root;\n" if os.geteuid() == 0 else "") + FRAME.format(folder=folder)
        (folder / "nginx.conf").write_text(frame)
        command = [str(program), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False, timeout=30)
        assert tested.returncode == 0, tested.stderr
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            front = Front(server, folder, https, http_port)
            await_listening(front, process)
            yield front
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def await_listening(front: Front, process: subprocess.Popen[bytes]) -> None:
    """Until nginx accepts connections; it says so in no other way."""
    deadline = time.monotonic() + 20
    while True:
        try:
            front.plain("/")
        except ConnectionRefusedError:
            assert process.poll() is None, (front.folder / "error.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def message(front: Front, name: str, challenge: str | None = None) -> tuple[Device, bytes]:
    device = Device.named(name)
    return device, pkcs_req(device, front.server.ra, front.server.secret if challenge is None else challenge)


def post(front: Front, body: bytes, **headers: str) -> tuple[int, bytes]:
    sent = {"Content-Type": "application/x-pki-message", **headers}
    return front.request("POST", f"{front.path}?operation=PKIOperation", body, sent)


def test_enrols_over_tls(front: Front) -> None:
    device, body = message(front, "through-nginx")
    status, answer = post(front, body)
    assert status == 200
    assert read_reply(answer).certificate(device).subject.rfc4514_string().startswith("CN=through-nginx")


def test_a_get_reaches_the_server_as_it_was_written(front: Front) -> None:
    """macOS leaves + and / as they are; nginx must not touch the query."""
    device, body = message(front, "get-through-nginx")
    written = base64.b64encode(body).decode().replace("=", "%3D")
    assert "+" in written
    status, answer = front.request("GET", f"{front.path}/pkiclient.exe?operation=PKIOperation&message={written}")
    assert status == 200
    assert read_reply(answer).certificate(device)
    assert "message=" not in (front.folder / "scep.access.log").read_text()


def test_tls_1_2_is_the_oldest(front: Front) -> None:
    target = f"{front.path}?operation=GetCACaps"
    assert front.request("GET", target, tls=ssl.TLSVersion.TLSv1_3)[0] == 200
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises(ssl.SSLError):
        front.request("GET", target, tls=ssl.TLSVersion.TLSv1_1)


@pytest.mark.parametrize(
    ("number", "claims"),
    [(1, {}), (2, {"X-Forwarded-For": "198.51.100.7"}), (3, {"X-Forwarded-For": "198.51.100.7, 127.0.0.1"})],
)
def test_the_source_is_the_client_whatever_it_claims(front: Front, number: int, claims: dict[str, str]) -> None:
    """Requests that wait for approval are listed with their source."""
    url, challenge = front.server.add_integration(f"manual-{number}", approval="manual")
    device = Device.named(f"claims-{number}")
    path = urllib.parse.urlsplit(url).path
    body = pkcs_req(device, front.server.ca_certificates(url)[0], challenge)
    status, answer = front.request("POST", f"{path}?operation=PKIOperation", body, claims)
    assert (status, read_reply(answer).status) == (200, "PENDING")
    (waiting,) = [entry for entry in front.server.requests() if f"claims-{number}" in entry["subject"]]
    assert waiting["source"] == CLIENT


def test_crls_and_ca_certificates_are_served_without_tls(front: Front) -> None:
    device, body = message(front, "crl-over-http")
    certificate = read_reply(post(front, body)[1]).certificate(device)
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert points[0].full_name
    url = urllib.parse.urlsplit(points[0].full_name[0].value)
    status, body = front.plain(url.path)
    assert status == 200
    assert x509.load_der_x509_crl(body).issuer == certificate.issuer
    assert front.plain(f"{front.path}?operation=GetCACaps")[0] == 404
    assert front.plain(url.path, "POST")[0] == 403


def test_a_challenge_is_fetched_over_tls_with_its_password(front: Front) -> None:
    """The front end says that it came by https, so the login is asked for and taken; its access log names neither."""
    done = front.server.run("integration", "add", "once", "--challenge", "dynamic", "--json")
    made = json.loads(done.stdout)
    front.server.await_integration(made["scep_url"])
    target = urllib.parse.urlsplit(made["challenge_url"]).path
    assert front.request("GET", target)[0] == 401
    login = base64.b64encode(f"{made['username']}:{made['password']}".encode()).decode()
    status, page = front.request("GET", target, headers={"Authorization": f"Basic {login}"})
    found = re.search(rb"challenge password is: <B> ([0-9A-F]{32}) </B>", page)
    assert status == 200
    assert found is not None
    device = Device.named("fetched-through-nginx")
    body = pkcs_req(device, front.server.ra, found[1].decode())
    answer = front.request("POST", f"{urllib.parse.urlsplit(made['scep_url']).path}?operation=PKIOperation", body)
    assert read_reply(answer[1]).certificate(device)
    logged = (front.folder / "scep.access.log").read_text()
    assert not any(secret in logged for secret in (made["password"], login, found[1].decode()))


@pytest.mark.parametrize(("size", "expected"), [(65536, {400}), (65537, {413})])
def test_bodies_end_at_64_kib(front: Front, size: int, expected: set[int]) -> None:
    assert post(front, b"\x30" * size)[0] in expected


def test_request_lines_of_16_kib_pass_and_longer_ones_do_not(front: Front) -> None:
    target = f"{front.path}?operation=GetCACaps&message="
    fits = target + "x" * (16000 - len(target))
    assert front.request("GET", fits)[0] == 200
    assert front.request("GET", target + "x" * 21000)[0] == 414


def test_the_server_may_be_down(front: Front) -> None:
    """Last: 502 is a transient fault to every client."""
    front.server.stop()
    try:
        assert front.request("GET", f"{front.path}?operation=GetCACaps")[0] == 502
    finally:
        front.server.start()
    assert front.request("GET", f"{front.path}?operation=GetCACaps")[0] == 200
