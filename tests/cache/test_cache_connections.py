"""Every way to a Redis: TLS, socket, ACL user, Sentinel through a failover, Cluster through a restart."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scep_server.cache import RedisChallenges
from scep_server.cache.breaker import PROBE_SECONDS
from scep_server.errors import CacheUnavailable, ConfigurationError, Fault
from tests.cache.conftest import Connect, Hands, Store
from tests.cache.test_cache_challenges import challenge, keys_of
from tests.contracts.ledger_contract import told
from tests.e2e.polling import until
from tests.e2e.redis_link import Link
from tests.e2e.redis_server import RedisProcess
from tests.e2e.server import free_port

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
PASSWORD = "correct horse"


async def works(challenges: RedisChallenges, hands: Hands) -> None:
    """Every command that is ever sent."""
    one = challenge(hands, sealed="s", lookups=(b"l",))
    await challenges.put([one], 5, told("challenge.minted"))
    assert await challenges.find("jamf", one.mac) is not None
    assert [each.mac for each in await challenges.sealed("jamf", b"l")] == [one.mac]
    assert await challenges.unspent("jamf") == 1
    await challenges.forget("jamf", [one.mac])
    assert await challenges.unspent("jamf") == 0
    assert await challenges.sealed("jamf", b"l") == []
    assert await challenges.expire(hands.utc) == 0


async def test_a_database_of_its_own(store: Store, hands: Hands, redis: RedisProcess) -> None:
    await store(url=f"{redis.url}/3").put([challenge(hands)], None, ())
    assert keys_of(redis, "") == []
    keyspace = redis.ask("INFO", "keyspace")
    assert isinstance(keyspace, bytes)
    assert b"db3:keys=3" in keyspace


async def test_a_unix_socket(store: Store, hands: Hands, redis: RedisProcess) -> None:
    await works(store(url=f"unix://{redis.socket}"), hands)


class TestAcl:
    """A user with what is needed, and nothing else."""

    def documented(self) -> list[str]:
        """The ACL line of docs/operations.md, as rules."""
        (line,) = [line for line in OPERATIONS.read_text().splitlines() if line.startswith("user scep ")]
        assert "+@all" not in line
        return line.replace("PASSWORD", PASSWORD.replace(" ", "_")).split()[2:]

    @pytest.fixture
    def guarded(self) -> Iterator[RedisProcess]:
        with RedisProcess("--requirepass", "admin", admin=["admin"]) as process:
            process.ask("ACL", "SETUSER", "scep", *self.documented())
            yield process

    async def test_the_documented_user_is_enough(
        self, store: Store, hands: Hands, guarded: RedisProcess, tmp_path: Path
    ) -> None:
        (tmp_path / "password").write_text(PASSWORD.replace(" ", "_") + "\n")
        await works(store(url=guarded.url, username="scep", password_file=tmp_path / "password"), hands)

    async def test_every_command_of_it_is_needed(
        self, store: Store, hands: Hands, guarded: RedisProcess, tmp_path: Path
    ) -> None:
        (tmp_path / "password").write_text(PASSWORD.replace(" ", "_"))
        granted = [rule[1:] for rule in self.documented() if rule.startswith("+")]
        for command in granted:
            if command in {"command", "cluster|slots", "select"}:  # a cluster's, and that of a url with a database
                continue
            guarded.ask("FLUSHALL")
            guarded.ask("ACL", "SETUSER", "scep", f"-{command}")
            with pytest.raises((CacheUnavailable, AssertionError)):
                await works(store(url=guarded.url, username="scep", password_file=tmp_path / "password"), hands)
            guarded.ask("ACL", "SETUSER", "scep", f"+{command}")

    async def test_a_missing_password_file_is_told_at_start(self, connected: Connect, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"redis\.password_file"):
            connected(url="redis://127.0.0.1:1", username="scep", password_file=tmp_path / "nowhere")


@dataclass
class Certificates:
    authority: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A private CA, and a certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Private CA")])
    now = datetime.now(UTC)

    def build(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(ca_name, subject, public, x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))

    authority = build(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = build(x509.Name([]), key.public_key()).add_extension(address, True)
    pem = serialization.Encoding.PEM
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    made.authority.write_bytes(authority.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    made.certificate.write_bytes(server.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    made.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return made


class TestTls:
    @pytest.fixture
    def encrypted(self, certificates: Certificates) -> Iterator[tuple[RedisProcess, int]]:
        """A Redis and its TLS port."""
        port = free_port()
        options = ["--tls-port", str(port), "--tls-auth-clients", "no"]
        options += ["--tls-cert-file", str(certificates.certificate), "--tls-key-file", str(certificates.key)]
        options += ["--tls-ca-cert-file", str(certificates.authority)]
        with RedisProcess(*options) as process:
            yield process, port

    async def test_a_private_ca_is_trusted_where_it_is_named(
        self, store: Store, hands: Hands, encrypted: tuple[RedisProcess, int], certificates: Certificates
    ) -> None:
        await works(store(url=f"rediss://127.0.0.1:{encrypted[1]}", ca_file=certificates.authority), hands)

    async def test_it_is_not_trusted_otherwise(self, store: Store, encrypted: tuple[RedisProcess, int]) -> None:
        with pytest.raises(CacheUnavailable, match="certificate is not trusted"):
            await store(url=f"rediss://127.0.0.1:{encrypted[1]}").unspent("jamf")

    async def test_another_hosts_certificate_is_not_taken(
        self, store: Store, encrypted: tuple[RedisProcess, int], certificates: Certificates
    ) -> None:
        with pytest.raises(CacheUnavailable, match=r"certificate is not trusted.*localhost"):
            await store(url=f"rediss://localhost:{encrypted[1]}", ca_file=certificates.authority).unspent("jamf")

    async def test_plain_redis_is_no_tls(self, store: Store, redis: RedisProcess) -> None:
        with pytest.raises(CacheUnavailable):
            await store(url=f"rediss://{redis.address}", timeout_ms=300).unspent("jamf")

    async def test_old_tls_is_refused(
        self, store: Store, encrypted: tuple[RedisProcess, int], certificates: Certificates
    ) -> None:
        encrypted[0].ask("CONFIG", "SET", "tls-protocols", "TLSv1.1")
        context = ssl.create_default_context(cafile=str(certificates.authority))
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        with pytest.raises(CacheUnavailable):
            await store(url=f"rediss://127.0.0.1:{encrypted[1]}", ca_file=certificates.authority).unspent("jamf")


class TestSentinel:
    """One sentinel that watches a master with one replica; it alone decides (quorum 1)."""

    @pytest.fixture
    def replicated(self) -> Iterator[tuple[RedisProcess, RedisProcess]]:
        options = ["--requirepass", "data", "--masterauth", "data", "--repl-diskless-sync-delay", "0"]
        master = RedisProcess(*options, admin=["data"])
        replica = RedisProcess(*options, "--replicaof", "127.0.0.1", str(master.port), admin=["data"])
        with master, replica:
            wait_for(lambda: b"master_link_status:up" in info(replica, "replication"))
            yield master, replica

    def watching(self, port: int) -> RedisProcess:
        watch = f"""sentinel monitor scep 127.0.0.1 {port} 1
            sentinel auth-pass scep data
            sentinel down-after-milliseconds scep 300
            sentinel failover-timeout scep 2000
            requirepass watch
        """
        return RedisProcess(admin=["watch"], sentinel=watch)

    @pytest.fixture
    def sentinel(self, replicated: tuple[RedisProcess, RedisProcess]) -> Iterator[RedisProcess]:
        with self.watching(replicated[0].port) as process:
            wait_for(lambda: b"slaves=1" in info(process, "sentinel"))
            yield process

    async def test_the_master_is_found_and_followed(
        self,
        store: Store,
        hands: Hands,
        tmp_path: Path,
        replicated: tuple[RedisProcess, RedisProcess],
        sentinel: RedisProcess,
    ) -> None:
        (tmp_path / "data").write_text("data")
        (tmp_path / "watch").write_text("watch")
        settings = {
            "sentinels": ["127.0.0.1:1", sentinel.address],  # the first is down
            "sentinel_service": "scep",
            "sentinel_password_file": tmp_path / "watch",
            "password_file": tmp_path / "data",
        }
        master, replica = replicated
        challenges, one = store(**settings), challenge(hands)
        await challenges.put([one], None, ())
        wait_for(lambda: len(keys_of(replica, "challenge")) == 1)
        master.hold()
        with pytest.raises(Fault):
            await store(**settings | {"timeout_ms": 100}).find("jamf", one.mac)
        wait_for(lambda: b"role:master" in info(replica, "replication"))
        wait_for(lambda: f":{replica.port},".encode() in info(sentinel, "sentinel"))
        master.end()
        found = None
        for _ in range(3):
            hands.go_on(seconds=PROBE_SECONDS)
            try:
                found = await challenges.find("jamf", one.mac)
            except CacheUnavailable:  # the connections to the old master, found dead one by one
                continue
        assert found == one
        await challenges.put([challenge(hands)], None, ())
        assert len(keys_of(replica, "challenge")) == 2

    async def test_a_service_that_it_does_not_watch(self, store: Store, redis: RedisProcess, tmp_path: Path) -> None:
        (tmp_path / "watch").write_text("watch")
        with self.watching(redis.port) as process:
            settings = {"sentinels": [process.address], "sentinel_password_file": tmp_path / "watch"}
            with pytest.raises(CacheUnavailable, match="no sentinel answers that knows"):
                await store(**settings, sentinel_service="another").unspent("jamf")


def cluster_of_one() -> RedisProcess:
    options = ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]
    # The port of the nodes among themselves is 10000 above the other unless it is told, and may not exist.
    return RedisProcess(*options, "--cluster-port", str(free_port()))


def serve_all_slots(*clusters: RedisProcess) -> None:
    """Two seconds go by before a node that just started takes a write."""
    for process in clusters:
        process.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_for(lambda: all(b"cluster_state:ok" in answer(process, "CLUSTER", "INFO") for process in clusters))


@pytest.fixture(scope="module")
def running_node() -> Iterator[RedisProcess]:
    with cluster_of_one() as process:
        serve_all_slots(process)
        yield process


class TestCluster:
    """One node that owns every slot: routing, slot rules and redirects are those of many."""

    @pytest.fixture
    def node(self, running_node: RedisProcess) -> RedisProcess:
        running_node.ask("FLUSHALL")
        return running_node

    async def test_everything_works_on_a_cluster(self, store: Store, hands: Hands, node: RedisProcess) -> None:
        challenges = store(cluster_nodes=["127.0.0.1:1", node.address])
        await works(challenges, hands)
        for name in ("intune", "workspace-one", "jamf"):
            await challenges.put([challenge(hands, integration=name) for _ in range(20)], 20, ())
        assert await challenges.expire(hands.utc + timedelta(hours=2)) == 60

    async def test_keys_of_one_integration_share_a_slot(self, store: Store, hands: Hands, node: RedisProcess) -> None:
        challenges = store(cluster_nodes=[node.address])
        for name in ("intune", "jamf"):
            some = [challenge(hands, integration=name, lookups=(b"l",)) for _ in range(5)]
            await challenges.put(some, None, ())
        keys = [key for key in keys_of(node, "") if not key.endswith(b":integrations")]
        slots = {node.ask("CLUSTER", "KEYSLOT", key) for key in keys}
        assert (len(keys), len(slots)) == (14, 2)

    async def test_the_documented_acl_user_is_enough_for_a_cluster(
        self, store: Store, hands: Hands, node: RedisProcess, tmp_path: Path
    ) -> None:
        node.ask("ACL", "SETUSER", "scep", *TestAcl().documented())
        (tmp_path / "password").write_text(PASSWORD.replace(" ", "_"))
        settings = {"cluster_nodes": [node.address], "username": "scep", "password_file": tmp_path / "password"}
        await works(store(**settings), hands)

    async def test_one_that_moved_meanwhile_is_found_where_it_was_named(self, store: Store, hands: Hands) -> None:
        """Every node that it told of is gone; the addresses of the configuration still lead to it."""
        with cluster_of_one() as old, cluster_of_one() as new, Link(old.port) as link:
            serve_all_slots(old, new)
            challenges = store(cluster_nodes=[link.address])
            assert await challenges.unspent("jamf") == 0
            old.end()
            link.cut()
            for _ in range(8):
                hands.go_on(seconds=PROBE_SECONDS)
                with pytest.raises(CacheUnavailable):
                    await challenges.unspent("jamf")
            link.lead_to(new.port)
            hands.go_on(seconds=PROBE_SECONDS)
            assert await challenges.unspent("jamf") == 0

    async def test_a_slot_that_nobody_serves_is_a_fault(self, store: Store, hands: Hands, node: RedisProcess) -> None:
        """The last one: the node is of no use afterwards."""
        challenges = store(cluster_nodes=[node.address], timeout_ms=1000)
        await works(challenges, hands)
        node.ask("CLUSTER", "DELSLOTSRANGE", 0, 16383)
        with pytest.raises(CacheUnavailable):
            await challenges.find("jamf", b"m")


def answer(process: RedisProcess, *words: str) -> bytes:
    text = process.ask(*words)
    assert isinstance(text, bytes)
    return text


def info(process: RedisProcess, section: str) -> bytes:
    return answer(process, "INFO", section)


def wait_for(condition: Callable[[], bool]) -> None:
    """What a Redis does in its own time."""
    until(condition, 15)
