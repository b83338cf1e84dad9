#!/usr/bin/env python3
"""An example receiver for `--challenge webhook`: Python's standard library only, to be copied and changed.

Devices that may enrol stand in a text file, one a line: common name, challenge, and `allow` or `pending`.

    laptop-1  correct-horse-battery  allow

What was issued and what failed is appended to a file, one JSON object a line. Change `decide` to ask your own
inventory. Everything above it is what any receiver has to do: verify, see each message once, answer, sign the answer.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import ipaddress
import json
import re
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WINDOW = 300
"""Seconds that a message's time may differ from ours."""
REMEMBERED = 4 * 24 * 3600
"""Seconds for which notices are remembered: they are repeated for three days."""
MAX_BODY = 512 * 1024
SIGNATURE = re.compile(r"t=(\d{1,12})((?:,v1=[0-9a-f]{64})+)", re.ASCII)


def mac(secret: bytes, timestamp: int, message_id: str, content: bytes) -> str:
    """HMAC-SHA-256, in hex, over time, id and content."""
    return hmac.new(secret, f"{timestamp}.{message_id}.".encode() + content, hashlib.sha256).hexdigest()


def is_signed(secrets: list[bytes], header: str, message_id: str, body: bytes) -> bool:
    """True when the message was signed under one of our secrets within the last five minutes."""
    read = SIGNATURE.fullmatch(header)
    if read is None or abs(time.time() - int(read[1])) > WINDOW:
        return False
    offered = re.findall(r"v1=([0-9a-f]{64})", read[2])
    right = [mac(secret, int(read[1]), message_id, body) for secret in secrets]
    return any(hmac.compare_digest(one, other) for one in offered for other in right)


class Seen:
    """Ids of messages, until they are old. Several receivers behind one address need a shared one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def first_time(self, message_id: str, seconds: float) -> bool:
        """True once for each id."""
        now = time.monotonic()
        with self._lock:
            for old in [one for one, until in self._until.items() if until < now]:
                del self._until[old]
            if message_id in self._until:
                return False
            self._until[message_id] = now + seconds
            return True

    def forget(self, message_id: str) -> None:
        """It could not be dealt with: let it come again."""
        with self._lock:
            self._until.pop(message_id, None)


def decide(question: dict[str, Any], devices: Path) -> dict[str, Any]:
    """Your rules. `names` makes sure that the certificate says nothing else than what was judged here."""
    csr = question["csr"]
    name, challenge = csr["common_name"], question["challenge"]
    # The server has verified the certificate that is renewed; whether the device is still ours, we know.
    renews = question["renewal"] and challenge is None
    if name is None or (challenge is None and not renews):
        return {"decision": "deny", "reason": "no common name, or no challenge"}
    for line in filter(str.strip, devices.read_text(encoding="utf-8").splitlines()):
        known, expected, decision = line.split()
        if known != name:
            continue
        if renews:
            return {"decision": "allow"}
        if hmac.compare_digest(expected.encode(), challenge.encode("utf-8", "replace")):
            return {"decision": decision, "names": {"subject": csr["subject"], "sans": []}}
    return {"decision": "deny", "reason": "unknown device, or wrong challenge", "wrong_challenge": not renews}


class Receiver(BaseHTTPRequestHandler):
    """One message a POST, at any path."""

    timeout = 15
    secrets: list[bytes]
    devices: Path
    notices: Path
    seen = Seen()

    def do_POST(self) -> None:
        """Verify first: nothing of a message is read before its signature is right."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        message_id = self.headers.get("X-Scep-Server-Id", "")
        if not is_signed(self.secrets, self.headers.get("X-Scep-Server-Signature", ""), message_id, body):
            self.send_error(401)
            return
        message = json.loads(body)
        if message["type"] in ("scep.issued", "scep.failed"):
            self._take(message)
        elif not self.seen.first_time(message_id, 2 * WINDOW):
            self.send_error(409)
        elif message["type"] == "scep.ping":
            self._answer(message_id, {"decision": "pong"})
        elif message["type"] == "scep.request":
            self._answer(message_id, decide(message, self.devices))
        else:
            self.send_error(422)

    def _take(self, notice: dict[str, Any]) -> None:
        """A notice comes until we say 2xx, so one that we know already is a success too."""
        if self.seen.first_time(notice["id"], REMEMBERED):
            try:
                with self.notices.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(notice) + "\n")
            except OSError:
                self.seen.forget(notice["id"])
                raise
        self.send_response(204)
        self.end_headers()

    def _answer(self, message_id: str, said: dict[str, Any]) -> None:
        """200 with the decision, the id of what was asked, and a signature of ours."""
        body = json.dumps({"request_id": message_id, **said}).encode()
        timestamp = int(time.time())
        signature = mac(self.secrets[0], timestamp, message_id, b"answer." + body)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Scep-Server-Signature", f"t={timestamp},v1={signature}")
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until interrupted. A signing secret is the first word of its file; two files while it is being changed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--listen", default="127.0.0.1:8099", metavar="ADDRESS:PORT", help="an IPv4 address")
    parser.add_argument("--secret-file", type=Path, action="append", required=True, metavar="FILE")
    parser.add_argument("--devices", type=Path, required=True, metavar="FILE")
    parser.add_argument("--notices", type=Path, required=True, metavar="FILE")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="chain in PEM; without it, HTTP on loopback")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key in PEM")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    if options.certificate is None and not ipaddress.ip_address(host).is_loopback:
        sys.exit("without --certificate only this machine may connect: challenges would cross the network in clear")
    Receiver.secrets = [file.read_text(encoding="utf-8").split()[0].encode() for file in options.secret_file]
    Receiver.devices, Receiver.notices = options.devices, options.notices
    server = ThreadingHTTPServer((host, int(port)), Receiver)
    if options.certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
        # Not on accept: a client that connects and says nothing must hold up its own thread only.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    sys.stderr.write(f"listening on {options.listen}\n")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
