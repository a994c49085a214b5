"""What the `network` command tells one of its nodes to do, and what it hears back; JSON lines.

The same orders are obeyed in this process and in a child; nothing here travels between nodes.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, field

__all__ = [
    "LINE_BYTES_MAX",
    "Answer",
    "Ask",
    "Collect",
    "Letter",
    "Look",
    "Order",
    "Post",
    "Pour",
    "Report",
    "Start",
    "Stop",
    "Tally",
    "read_answer",
    "read_order",
    "write_line",
]

LINE_BYTES_MAX: Final = 4_194_304
"""The longest line either side reads; a report of a full table has 20 KiB."""


class Start(Struct, frozen=True, tag="start"):
    """Start the node, or client."""

    client: bool
    first: bool
    contacts: list[str]
    identity: str
    """The file of its identity; empty for a fresh one that is not kept."""
    network: str


class Look(Struct, frozen=True, tag="look"):
    """Report how things stand."""


class Letter(Struct, frozen=True):
    """One message to be sent."""

    id: str
    """Its whole payload."""
    name: str
    """64 hexadecimal digits."""
    group: bool


class Post(Struct, frozen=True, tag="post"):
    """Send messages."""

    letters: list[Letter]


class Ask(Struct, frozen=True, tag="ask"):
    """Send requests and wait for the replies."""

    letters: list[Letter]
    timeout_s: float


class Pour(Struct, frozen=True, tag="pour"):
    """Begin to send messages, evenly over so many seconds; the answer does not wait for that."""

    letters: list[Letter]
    seconds: float


class Tally(Struct, frozen=True, tag="tally"):
    """Say which messages were reported as failed since the last time, and how many are open."""


class Collect(Struct, frozen=True, tag="collect"):
    """Hand over the ids of the messages and requests that have arrived since the last time."""


class Stop(Struct, frozen=True, tag="stop"):
    """Stop in good order."""

    drain_s: float


Order = Start | Look | Post | Ask | Pour | Tally | Collect | Stop


class Report(Struct, frozen=True):
    """How one node or client stands."""

    name: str = ""
    """64 hexadecimal digits, empty while it has none."""
    state: str = "DISCONNECTED"
    connected: bool = False
    """Its phase is CONNECTED."""
    endpoint: str = ""
    peers: list[str] = field(default_factory=list)
    outbound: int = 0
    """Of the peers, those it dialled itself."""
    started: int = 0
    """Attempts it began as a requester."""
    ended: dict[str, int] = field(default_factory=dict)
    """How these ended, by outcome."""


class Answer(Struct, frozen=True):
    """What came of an order."""

    error: str = ""
    """One line, empty if all went well."""
    report: Report | None = None
    ids: list[str] = field(default_factory=list)
    waiting: int = 0
    """For `Tally`: messages not sent yet, or neither acknowledged nor reported as failed."""
    leaked_sockets: int = 0
    leaked_tasks: int = 0


_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def read_order(line: bytes) -> Order:
    """Return the order in a line.

    Raises:
        msgspec.DecodeError: it holds none.
    """
    return _orders.decode(line)


def read_answer(line: bytes) -> Answer:
    """Return the answer in a line.

    Raises:
        msgspec.DecodeError: it holds none.
    """
    return _answers.decode(line)


def write_line(record: Struct) -> bytes:
    """Return one line for a record."""
    return msgspec.json.encode(record) + b"\n"
