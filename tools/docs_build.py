"""Bring the generated parts of the documents up to date: `python -m tools.docs_build [--check]`.

A document holds blocks between `<!-- begin NAME -->` and `<!-- end NAME -->`; what stands between
is replaced by what the block of that name makes. Everything else is prose and is left alone. With
`--check` nothing is written, and the exit code tells whether anything would be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from msgspec import Struct

from routing import bodies
from routing import messages as wire
from routing.errors import CloseCode, DialFailure, Outcome
from routing.messages import HelloRole
from tools import docs_pictures as pictures
from tools import docs_tables as tables
from tools import docs_vectors, docs_ways
from tools.docs_accumulation import accumulation_picture
from tools.docs_source import ROOT

__all__ = ["BLOCKS", "DOCUMENTS", "VECTORS", "outdated", "refreshed"]

DOCUMENTS = (
    "README.md",
    "docs/protocol.md",
    "docs/routing.md",
    "docs/states.md",
    "docs/limits.md",
)
VECTORS = "tests/vectors/protocol.json"

_RECORDS: tuple[type[Struct], ...] = (
    wire.Hello,
    wire.Ack,
    wire.Confirmation,
    wire.SecondaryFailed,
    wire.Admit,
    wire.Refuse,
    wire.Ping,
    wire.Close,
    wire.Neighbours,
    wire.Contacts,
    wire.Direct,
    wire.Reachable,
    wire.Unneeded,
    wire.IsName,
    wire.NameIs,
    wire.Throttled,
    wire.Envelope,
    wire.Signed,
    wire.Authority,
    wire.Vote,
    wire.Certificate,
    bodies.ConnectRequest,
    bodies.ConnectResponse,
    bodies.ConnectRefused,
    bodies.RequestName,
    bodies.NameVote,
    bodies.FindGroup,
    bodies.GroupIs,
    bodies.Unroutable,
    bodies.Acknowledged,
    bodies.Reply,
    bodies.Busy,
    bodies.Vouch,
    bodies.Vouched,
    bodies.Register,
    bodies.Record,
    bodies.Records,
    bodies.Content,
    bodies.Ballot,
    bodies.WholeWanted,
    bodies.Part,
    bodies.Moved,
)


def _of_record(record: type[Struct]) -> Callable[[], str]:
    return lambda: tables.fields(record)


BLOCKS: dict[str, Callable[[], str]] = {
    **{f"record {record.__name__}": _of_record(record) for record in _RECORDS},
    "addresses": tables.addresses,
    "frame kinds": tables.frame_kinds,
    "message kinds": tables.message_kinds,
    "hello roles": lambda: tables.enumeration(HelloRole),
    "close codes": lambda: tables.enumeration(CloseCode),
    "dial failures": lambda: tables.enumeration(DialFailure),
    "outcomes": lambda: tables.enumeration(Outcome),
    "accept table": tables.accept_table,
    "connect table": tables.connect_table,
    "limits": tables.limits_table,
    "states of a node": lambda: pictures.state_picture(client=False),
    "states of a client": lambda: pictures.state_picture(client=True),
    "two-way connect": pictures.connect_picture,
    "first two nodes": pictures.first_nodes_picture,
    "way of a message": docs_ways.message_picture,
    "an accumulation": accumulation_picture,
}
"""Name -> what makes the block of that name."""

_BLOCK = re.compile(
    r"<!-- begin (?P<name>[\w -]+) -->\n(?P<text>.*?)<!-- end (?P=name) -->", re.DOTALL
)


def refreshed(text: str) -> str:
    """Return a document with every block made anew.

    Raises:
        KeyError: it holds a block that nothing makes.
    """

    def renewed(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- begin {name} -->\n\n{BLOCKS[name]()}\n\n<!-- end {name} -->"

    return _BLOCK.sub(renewed, text)


def outdated() -> dict[str, str]:
    """Return the files whose generated parts are not current, with the text they should have."""
    found = {}
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        if (fresh := refreshed(text)) != text:
            found[name] = fresh
    path = ROOT / VECTORS
    held = path.read_text(encoding="utf-8") if path.exists() else ""
    if (fresh := docs_vectors.written()) != held:
        found[VECTORS] = fresh
    return found


def main(arguments: list[str]) -> int:
    """Write what is outdated, or with `--check` only tell it."""
    stale = outdated()
    for name, text in stale.items():
        print(name)
        if "--check" not in arguments:
            (ROOT / name).write_text(text, encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
