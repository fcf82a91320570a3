"""Real Redis servers in every arrangement that operators use: alone, as a cluster, behind sentinels.

Each comes plain, with the password of the default user, or `secure`: TLS only, from an authority nobody else
knows, for clients with a certificate, and an ACL user. `environment` is what an operator would set to
reach it, so that whoever reads it from there tests the settings as well. What servers tell each other first
(who is there, who follows whom) is written into their files beforehand: so they are up in a second or two.
Of each others are told an address that need not be where it listens: a proxy may stand there.
"""

import contextlib
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from infra.connect import redis_config
from infra.redis import RedisConfig
from infra.settings import load_settings
from tests.brokers import absent, free_port, until

USER, PASSWORD, SENTINEL_PASSWORD = "millrace", "a secret of theirs", "a secret of the sentinels"
SLOTS = 16_384
PATIENT_MS, IMPATIENT_MS = 60_000, 1_500
"""How long a server may be silent before the others take it for dead. On a machine that is busy they soon
are: only who wants a failover is impatient."""


def arrangements(*names: str) -> list[Any]:
    """Return parameters, by the names that the fixture `arranged` knows, for `make test-brokers`."""
    return [pytest.param(name, marks=pytest.mark.brokers) for name in names]


class Certificates:
    """A private authority and what it signed: servers, one of them under another name, and a client."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.authority)
        self.server = self._issue(authority, folder, "server", "localhost", "127.0.0.1")
        self.elsewhere = self._issue(authority, folder, "elsewhere", "elsewhere.example.org")
        self.client = self._issue(authority, folder, "client", "client@example.org")

    @staticmethod
    def _issue(authority: trustme.CA, folder: Path, name: str, *identities: str) -> tuple[Path, Path]:
        issued = authority.issue_cert(*identities)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        issued.private_key_pem.write_to_path(key)
        issued.cert_chain_pems[0].write_to_path(certificate)
        return certificate, key

    def server_options(self, certificate: tuple[Path, Path]) -> list[str]:
        """Return the options of a server that shows `certificate` and wants one of its clients."""
        names = ("--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file")
        values = (*certificate, self.authority)
        return [
            *(str(part) for pair in zip(names, values, strict=True) for part in pair),
            *("--tls-auth-clients", "yes", "--tls-replication", "yes", "--tls-cluster", "yes"),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """What an operator sets."""
        certificate, key = self.client
        return {
            "REDIS_TLS_ENABLED": "true",
            "REDIS_TLS_CA_CERT_FILE": str(self.authority),
            "REDIS_TLS_CERT_FILE": str(certificate),
            "REDIS_TLS_KEY_FILE": str(key),
            "REDIS_TLS_CHECK_HOSTNAME": "true",
        }


class Server:
    """One process of `redis-server`, which a test may kill, stop and start again."""

    def __init__(self, folder: Path, *, apart: int = 0) -> None:
        """Find its ports. `apart`: it stands behind proxies, and connects from an address of that number."""
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        self.told_port = free_port() if apart else self.port
        """Where clients and other servers are told that it listens."""
        self.bus_port = self.port + 10_000
        self.told_bus_port = free_port() if apart else self.bus_port
        self.host = f"127.0.1.{apart}" if apart else "127.0.0.1"
        """From where it connects to others."""
        self.options: Sequence[str] = ()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it with whatever data it had; it answers a little later."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_binary(), *self.options, "--dir", str(self.folder)], stdout=log, stderr=log
            )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None


class Arrangement:
    """Some servers that belong together, each behind proxies of its own where a test wants to put some."""

    mode = ""

    def __init__(self, *, secure: bool, silence_ms: int = PATIENT_MS, behind_proxies: bool = False) -> None:
        self.secure = secure
        self.silence_ms = silence_ms
        self._behind_proxies = behind_proxies
        self._folder = Path(tempfile.mkdtemp(prefix="millrace-test-"))
        self.certificates = Certificates(self._folder)
        self.servers: list[Server] = []

    def start(self) -> None:
        """Start all, and wait until work can begin."""
        for server in self.servers:
            if not server.runs:
                server.start()
        until(self._is_ready, f"the {self.mode} to be ready", 60)

    @property
    def data(self) -> Sequence[Server]:
        """Those that keep data."""
        return self.servers

    def close(self) -> None:
        """End all and remove their data."""
        for server in self.servers:
            server.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the settings by which Millrace reaches it."""
        user = {"MILLRACE_REDIS_USERNAME": USER} if self.secure else {}
        tls = self.certificates.environment if self.secure else {}
        return {"REDIS_PASSWORD": PASSWORD, **user, **tls, **self._place(), **more}

    def config(self, prefix: str = "") -> RedisConfig:
        """Return what the settings say."""
        environment = self.environment(REDIS_KEY_PREFIX=prefix)
        return redis_config(load_settings({"MILLRACE_ENV_FILE": "/dev/null", "HOME": "/", **environment}))

    def client(self, server: Server) -> "redis.Redis[bytes]":
        """Return a plain synchronous client of one server."""
        certificate, key = self.certificates.client
        tls: dict[str, Any] = {
            "ssl": self.secure,
            "ssl_ca_certs": str(self.certificates.authority),
            "ssl_certfile": str(certificate),
            "ssl_keyfile": str(key),
            "ssl_check_hostname": False,
        }
        return redis.Redis(
            port=server.port,
            password=PASSWORD,
            protocol=2,
            socket_timeout=2,
            **(tls if self.secure else {}),
        )

    def primary_of(self, key: str) -> Server:
        """Return the server that takes writes of `key` now. Raises `AssertionError` where nobody can say."""
        raise NotImplementedError

    def primaries(self) -> list[Server]:
        """Return all servers that take writes now. Raises `AssertionError` where nobody can say."""
        return [self.primary_of("any")]

    def machine_of(self, server: Server) -> set[Server]:
        """Return the servers that stand on one machine with `server`, itself included."""
        return {server}

    def has_copies(self, primary: Server) -> bool:
        """Whether its replicas, one at least, have all that was written to a primary."""
        with contextlib.suppress(redis.RedisError, OSError):
            written = self._replication_of(primary)["master_repl_offset"]
            known = [self._replication_of(server) for server in self.data if server is not primary]
            copied = [
                replica["slave_repl_offset"]
                for replica in known
                if replica.get("master_port") == primary.told_port
            ]
            return bool(copied) and min(copied) >= written
        return False

    def _replication_of(self, server: Server) -> dict[str, Any]:
        with self.client(server) as client:
            return client.info("replication")

    def _place(self) -> dict[str, str]:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _options(self, server: Server, certificate: tuple[Path, Path] | None = None) -> list[str]:
        """Return what all servers of it have in common."""
        port = str(server.port)
        ports = ["--port", "0", "--tls-port", port] if self.secure else ["--port", port]
        tls = self.certificates.server_options(certificate or self.certificates.server) if self.secure else []
        return [
            *ports,
            *tls,
            *("--bind", "127.0.0.1", "--bind-source-addr", server.host),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "no"),
            # Behind impatient sentinels a primary that is alone takes no writes. In a cluster each has one
            # replica, which could not go on when it takes over.
            *(
                "--min-replicas-to-write",
                str(int(self.silence_ms < PATIENT_MS and self.mode == "sentinel")),
            ),
            *("--min-replicas-max-lag", "2"),
            *("--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"),
            *("--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all", "-@dangerous", "+info"),
        ]

    def _add(self) -> Server:
        number = len(self.servers) + 1
        self.servers.append(Server(self._folder / str(number), apart=number if self._behind_proxies else 0))
        return self.servers[-1]


class Standalone(Arrangement):
    """One server, reached by a URL. `elsewhere`: its certificate names another host."""

    mode = "standalone"

    def __init__(self, *, secure: bool, elsewhere: bool = False) -> None:
        super().__init__(secure=secure)
        server = self._add()
        server.options = self._options(server, self.certificates.elsewhere if elsewhere else None)

    def environment(self, **more: str) -> dict[str, str]:
        [server] = self.servers
        by_password = f":{PASSWORD}@".replace(" ", "%20")
        if not self.secure:
            return {"REDIS_URL": f"redis://{by_password}127.0.0.1:{server.port}/3", **more}
        url = f"rediss://{USER}{by_password}localhost:{server.port}/3"
        return {"REDIS_URL": url, **self.certificates.environment, **more}

    def _is_ready(self) -> bool:
        with contextlib.suppress(redis.RedisError, OSError), self.client(self.servers[0]) as client:
            return bool(client.ping())
        return False


class Cluster(Arrangement):
    """Three primaries with a third of the slots each, and a replica of each."""

    mode = "cluster"

    def __init__(self, *, primaries: int = 3, **options: Any) -> None:
        super().__init__(**options)
        self._primaries = primaries
        for _ in range(2 * primaries):
            server = self._add()
            server.options = [*self._options(server), *self._membership(server)]
        self._introduce()

    def _membership(self, server: Server) -> list[str]:
        port = "--cluster-announce-tls-port" if self.secure else "--cluster-announce-port"
        return [
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(self.silence_ms)),
            *("--cluster-announce-ip", "127.0.0.1", port, str(server.told_port)),
            *("--cluster-announce-bus-port", str(server.told_bus_port)),
        ]

    def _introduce(self) -> None:
        """Write into every node's file who the others are."""
        ids = [secrets.token_hex(20) for _ in self.servers]
        bounds = [round(SLOTS * part / self._primaries) for part in range(self._primaries + 1)]
        for own, server in enumerate(self.servers):
            lines = []
            for index, (node, name) in enumerate(zip(self.servers, ids, strict=True)):
                is_primary = index < self._primaries
                role = "master - " if is_primary else f"slave {ids[index - self._primaries]} "
                flags = ("myself," if index == own else "") + role
                slots = f" {bounds[index]}-{bounds[index + 1] - 1}" if is_primary else ""
                epoch = index % self._primaries + 1
                place = f"127.0.0.1:{node.told_port}@{node.told_bus_port}"
                lines.append(f"{name} {place} {flags}0 0 {epoch} connected{slots}\n")
            lines.append(f"vars currentEpoch {self._primaries} lastVoteEpoch 0\n")
            (server.folder / "nodes.conf").write_text("".join(lines))

    def _place(self) -> dict[str, str]:
        host = "localhost" if self.secure else "127.0.0.1"
        nodes = ",".join(f"{host}:{server.told_port}" for server in self.servers)
        return {"REDIS_MODE": "cluster", "REDIS_CLUSTER_NODES": nodes}

    def _is_ready(self) -> bool:
        return all(self._is_whole(server) for server in self.servers if server.runs)

    def _is_whole(self, server: Server) -> bool:
        """Whether a node sees the whole cluster, and follows its primary if it has one."""
        with contextlib.suppress(redis.RedisError, OSError), self.client(server) as client:
            state = client.execute_command("CLUSTER INFO")["cluster_state"]
            replication = self._replication_of(server)
            linked = replication["role"] == "master" or replication["master_link_status"] == "up"
            served = replication["role"] == "slave" or replication["connected_slaves"] > 0
            return state == "ok" and linked and (served or not all(s.runs for s in self.servers))
        return False

    def primary_of(self, key: str) -> Server:
        slot = self._ask_any("CLUSTER KEYSLOT", key)
        return next(server for last, server in self._ranges() if slot <= last)

    def primaries(self) -> list[Server]:
        return [server for _, server in self._ranges()]

    def _ranges(self) -> list[tuple[int, Server]]:
        """Return the last slot of each range, in order, and the server that has it."""
        by_port = {server.told_port: server for server in self.servers}
        told = self._ask_any("CLUSTER SLOTS")
        ranges = [(last, by_port[port]) for _, last, (_, port, *_), *_ in told]
        return sorted(ranges, key=itemgetter(0))

    def _ask_any(self, *command: str) -> Any:
        for server in self.servers:
            with contextlib.suppress(redis.RedisError, OSError), self.client(server) as client:
                return client.execute_command(*command)
        raise AssertionError("no node answers")


class Sentinels(Arrangement):
    """One primary, two replicas and three sentinels that agree on failovers by two."""

    mode = "sentinel"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for server in [self._add() for _ in range(3)]:
            server.options = [*self._options(server), *self._replication(server)]
        for sentinel in [self._add() for _ in range(3)]:
            sentinel.options = [str(sentinel.folder / "sentinel.conf"), "--sentinel"]
        self._introduce()

    @property
    def data(self) -> Sequence[Server]:
        return self.servers[:3]

    @property
    def sentinels(self) -> Sequence[Server]:
        """Those that watch them."""
        return self.servers[3:]

    def _replication(self, server: Server) -> list[str]:
        announced = ["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(server.told_port)]
        primary = self.data[0]
        return [
            *announced,
            *(() if server is primary else ("--replicaof", "127.0.0.1", str(primary.told_port))),
        ]

    def _introduce(self) -> None:
        """Write into every sentinel's file who is there."""
        ids = [secrets.token_hex(20) for _ in self.sentinels]
        master = "sentinel {} mymaster {}\n".format
        for own, sentinel in zip(ids, self.sentinels, strict=True):
            others = [(name, node) for name, node in zip(ids, self.sentinels, strict=True) if name != own]
            lines = [
                self._sentinel_ports(sentinel),
                f"requirepass {SENTINEL_PASSWORD!r}\nsentinel sentinel-pass {SENTINEL_PASSWORD!r}\n",
                f"sentinel myid {own}\n",
                f"sentinel announce-ip 127.0.0.1\nsentinel announce-port {sentinel.told_port}\n",
                master("monitor", f"127.0.0.1 {self.data[0].told_port} 2"),
                master("down-after-milliseconds", self.silence_ms),
                master("failover-timeout", 6_000),
                master("auth-pass", repr(PASSWORD)),
                *(master("known-replica", f"127.0.0.1 {node.told_port}") for node in self.data[1:]),
                *(master("known-sentinel", f"127.0.0.1 {node.told_port} {name}") for name, node in others),
            ]
            (sentinel.folder / "sentinel.conf").write_text("".join(lines))

    def _sentinel_ports(self, sentinel: Server) -> str:
        if not self.secure:
            return f"port {sentinel.port}\nbind 127.0.0.1\nbind-source-addr {sentinel.host}\n"
        options = self.certificates.server_options(self.certificates.server)
        tls = "".join(
            f"{name[2:]} {value}\n" for name, value in zip(options[::2], options[1::2], strict=True)
        )
        return f"port 0\ntls-port {sentinel.port}\nbind 127.0.0.1\nbind-source-addr {sentinel.host}\n{tls}"

    def _place(self) -> dict[str, str]:
        host = "localhost" if self.secure else "127.0.0.1"
        nodes = ",".join(f"{host}:{sentinel.told_port}" for sentinel in self.sentinels)
        return {
            "REDIS_MODE": "sentinel",
            "REDIS_SENTINEL_NODES": nodes,
            "REDIS_SENTINEL_PASSWORD": SENTINEL_PASSWORD,
        }

    def _is_ready(self) -> bool:
        return all(self._is_informed(sentinel) for sentinel in self.sentinels if sentinel.runs)

    def _is_informed(self, sentinel: Server) -> bool:
        """Whether a sentinel could replace the primary now."""
        with contextlib.suppress(redis.RedisError, OSError), self._asking(sentinel) as client:
            master = client.sentinel_master("mymaster")
            replicas = client.sentinel_slaves("mymaster")
            up = [one for one in replicas if not one["is_sdown"] and one["master-link-status"] == "ok"]
            return bool(master["is_master"] and not master["is_sdown"] and len(up) == 2)
        return False

    def _asking(self, sentinel: Server) -> "redis.Redis[bytes]":
        client = self.client(sentinel)
        client.connection_pool.connection_kwargs["password"] = SENTINEL_PASSWORD
        return client

    def primary_of(self, key: str) -> Server:
        for sentinel in self.sentinels:
            with contextlib.suppress(redis.RedisError, OSError), self._asking(sentinel) as client:
                port = client.sentinel_master("mymaster")["port"]
                return next(server for server in self.data if server.told_port == port)
        raise AssertionError("no sentinel answers")

    def machine_of(self, server: Server) -> set[Server]:
        return {server, self.sentinels[self.data.index(server)]}


def _binary() -> str:
    """Return the server of the distribution: the oldest we support, and one that speaks TLS."""
    return shutil.which("redis-server") or absent("no redis-server is installed: make services")
