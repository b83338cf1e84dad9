"""The load: a process of its own that sends prebuilt requests over keep-alive connections and keeps what came back.

Reads one pickled Load from stdin, warms up, writes `ready`, waits for one byte, sends, writes one pickled Shot.
It parses no more of a reply than its length: verification is done afterwards, by somebody else, off the clock.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvloop


@dataclass(frozen=True)
class Load:
    """What to send. warm_up requests come first and are not timed."""

    host: str
    port: int
    clients: int
    requests: list[bytes] = field(repr=False)
    warm_up: int = 0


@dataclass
class Shot:
    """What happened; latencies in seconds, bodies by request number (None: no answer)."""

    seconds: float
    latencies: list[float] = field(repr=False)
    bodies: list[bytes | None] = field(repr=False)
    statuses: list[int] = field(repr=False)


def http_request(host: str, port: int, path: str, body: bytes) -> bytes:
    """A complete POST, ready for the socket."""
    head = (
        f"POST {path}?operation=PKIOperation HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/x-pki-message\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body; Content-Length or chunked (Go chunks what is longer than its buffer)."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    status = int(head[0].split()[1])
    if "content-length" in headers:
        return status, await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return status, body


async def client(load: Load, work: Iterator[int], shot: Shot) -> None:
    """One device after the other over one connection; a lost connection loses one request, not the run."""
    reader, writer = await asyncio.open_connection(load.host, load.port)
    for number in work:
        begun = time.perf_counter()
        writer.write(load.requests[number])
        try:
            status, body = await read_response(reader)
        except (OSError, EOFError, ValueError):
            writer.close()
            reader, writer = await asyncio.open_connection(load.host, load.port)
            continue
        shot.latencies.append(time.perf_counter() - begun)
        shot.bodies[number] = body
        shot.statuses.append(status)
    writer.close()


async def fire(load: Load, numbers: range) -> Shot:
    """Send these requests with all clients."""
    shot = Shot(0.0, [], [None] * len(load.requests), [])
    work = iter(numbers)
    begun = time.perf_counter()
    await asyncio.gather(*(client(load, work, shot) for _ in range(load.clients)))
    shot.seconds = time.perf_counter() - begun
    return shot


def main() -> None:
    load: Load = pickle.load(sys.stdin.buffer)
    warm = uvloop.run(fire(load, range(load.warm_up)))
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read(1)
    shot = uvloop.run(fire(load, range(load.warm_up, len(load.requests))))
    shot.bodies[: load.warm_up] = warm.bodies[: load.warm_up]
    pickle.dump(shot, sys.stdout.buffer)


if __name__ == "__main__":
    # Under its importable name, so that what is pickled is known to the process that reads it.
    from tests.bench import generator

    generator.main()
