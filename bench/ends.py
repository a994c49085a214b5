"""What the programs that measure whole connections share: a core that keeps still, and processes.

`Still` trusts whoever has proved a key and wants nothing else: around it a host does all that it
does for a node (channel, records, heartbeats, ledgers), and nothing of a network is measured along.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import ssl
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Any: what a process answers is JSON.
from typing import Any

from routing import actions as do
from routing.identity import Identity
from routing.inputs import Accepted, ContactsLearnt, DialFailed, Dialled, Input, Lost
from routing.limits import SECOND, Limits, Nanos
from routing.service import Host, HostConfig
from routing.state import Connection, Token

__all__ = [
    "IN_FLIGHT",
    "TAG",
    "End",
    "Still",
    "answer",
    "contexts",
    "hosted",
    "load",
    "pin",
    "raise_descriptors",
]

TAG = b"benchtag"
IN_FLIGHT = 16
"""Connects that are under way at once, for every contestant."""


def pin(core: int) -> None:
    """Keep to one core, if there is more than one."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def load() -> str:
    """Return the machine's load, to be told beside every figure."""
    return " ".join(f"{each:.2f}" for each in os.getloadavg())


def raise_descriptors() -> int:
    """Have as many descriptors as the system gives us without asking; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


class Still:
    """A core that trusts everybody, and dials what it was asked to, so many at once."""

    def __init__(self) -> None:
        self.open: dict[Token, Connection] = {}
        self.failed: list[DialFailed] = []
        self.lost = 0
        self.on_met: Callable[[], object] = bool
        """Called after each channel that was made."""
        self._wanted: deque[str] = deque()
        self._under_way = self._dials = 0
        self._actions: list[do.Action] = []
        self._all_answered = asyncio.Event()

    def handle(self, fact: Input, now: Nanos) -> None:
        """See `Machine`."""
        if isinstance(fact, Accepted | Dialled):
            self.open[fact.connection.token] = fact.connection
            self._actions.append(do.Trust(fact.connection.token))
            self.on_met()
        if isinstance(fact, Lost):
            self.lost += 1
            del self.open[fact.token]
        if isinstance(fact, DialFailed):
            self.failed.append(fact)
        if isinstance(fact, Dialled | DialFailed):
            self._under_way -= 1
        self._dial()

    def on_deadline(self, now: Nanos) -> None:
        """See `Machine`."""

    def take_actions(self) -> list[do.Action]:
        """See `Machine`."""
        taken, self._actions = self._actions, []
        return taken

    def next_deadline(self) -> Nanos | None:
        """See `Machine`."""
        return None

    def _dial(self) -> None:
        while self._wanted and self._under_way < IN_FLIGHT:
            self._under_way += 1
            self._dials += 1
            endpoint = self._wanted.popleft()
            self._actions.append(do.Dial(self._dials, endpoint, None, 30 * SECOND))
        if not self._wanted and not self._under_way:
            self._all_answered.set()

    async def dial(self, host: Host, endpoints: list[str]) -> None:
        """Dial all of these; return when each was answered."""
        self._all_answered.clear()
        self._wanted.extend(endpoints)
        host.submit(ContactsLearnt([]))
        await self._all_answered.wait()
        if self.failed:
            raise RuntimeError(f"{len(self.failed)} dials failed, first {self.failed[0]}")

    def close_all(self, host: Host, how: Callable[[Token], do.Action]) -> None:
        """Let go of everything that is open."""
        self._actions += [how(token) for token in self.open]
        self.open.clear()
        host.submit(ContactsLearnt([]))


def hosted(
    *, listen: tuple[str, ...] = (), limits: Limits | None = None, looks: bool = False
) -> tuple[Host, Still]:
    """Return a host around a still core; the caller starts it. To look again is no work."""
    core = Still()
    config = HostConfig(
        listen=listen,
        tag=TAG,
        identity=Identity.generate(),
        limits=limits or Limits.recommended(),
        busy_poll_ns=None if looks else 0,
    )
    host = Host(
        core,
        config,
        on_event=lambda event: None,
        on_message=lambda message: None,
        on_answered=lambda answered: None,
        on_failed=lambda reference, reason: None,
    )
    return host, core


class End:
    """A process of ours that says one line of JSON at once, and one for each line it is told."""

    def __init__(self, module: str, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hello = self._read()

    def ask(self, word: str = "") -> Any:
        """Say a word, return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return json.loads(said)

    def close(self) -> None:
        """End it; it holds nothing that is worth an orderly end."""
        self._process.kill()
        self._process.communicate()


async def answer(hello: Any, to: Callable[[str], Awaitable[Any]]) -> None:
    """Be the other side of `End` until nobody asks any more."""
    print(json.dumps(hello), flush=True)
    while word := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await to(word.strip())), flush=True)


def contexts(folder: Path | None = None) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's, TLS 1.3, each asking for the other's certificate.

    Both ends have the one certificate in `folder`, which is made where there is none.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            return contexts(Path(made))
    both = folder / "both.pem"
    if not both.exists():
        both.write_bytes(_certificate())
    found = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(both)
        context.load_verify_locations(both)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        found.append(context)
    return found[0], found[1]


def _certificate() -> bytes:
    """Return an Ed25519 key and its own certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return secret + made.public_bytes(serialization.Encoding.PEM)
