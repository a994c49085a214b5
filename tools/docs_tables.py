"""The tables of the documents, made from the code they describe; no prose, no file is written.

Each function returns Markdown. What a table says is what the modules say: numbers from the
enumerations, fields and bounds from the wire records, verdicts from the tables of `state`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

from msgspec import Struct
from msgspec import inspect as shape

from routing import bodies
from routing import messages as wire
from routing.errors import CloseCode
from routing.limits import Limits
from routing.messages import FrameKind, HelloRole, MessageKind
from routing.state import (
    ALLOWED,
    JOINER_KINDS,
    ON_CONNECT,
    ON_HELLO,
    Detail,
    Direction,
    LinkRole,
    OnConnect,
    OnHello,
)
from tools.docs_source import described, members

__all__ = [
    "BODIES",
    "HOST_KINDS",
    "MESSAGE_BODIES",
    "accept_table",
    "addresses",
    "connect_table",
    "duration",
    "enumeration",
    "fields",
    "frame_kinds",
    "limits_table",
    "message_kinds",
    "verdict",
]

BODIES: dict[FrameKind, type[Struct] | type[bytes] | None] = {
    FrameKind.HELLO: wire.Hello,
    FrameKind.ACK: wire.Ack,
    FrameKind.CONFIRMATION: wire.Confirmation,
    FrameKind.SECONDARY_FAILED: wire.SecondaryFailed,
    FrameKind.ADMIT: wire.Admit,
    FrameKind.REFUSE: wire.Refuse,
    FrameKind.PING: wire.Ping,
    FrameKind.PONG: wire.Ping,
    FrameKind.CLOSE: wire.Close,
    FrameKind.HEARTBEAT: None,
    FrameKind.ROUTED: wire.Envelope,
    FrameKind.GROUP_COPY: wire.Envelope,
    FrameKind.NEIGHBOURS: wire.Neighbours,
    FrameKind.CONTACTS: wire.Contacts,
    FrameKind.DIRECT: wire.Direct,
    FrameKind.REACHABLE: wire.Reachable,
    FrameKind.UNNEEDED: wire.Unneeded,
    FrameKind.THROTTLED: wire.Throttled,
    FrameKind.BATCH: bytes,
    FrameKind.IS_NAME: wire.IsName,
    FrameKind.NAME_IS: wire.NameIs,
}
"""Frame kind -> the record of its body; `bytes` where it is none, None where the body is empty."""

MESSAGE_BODIES: dict[MessageKind, type[Struct] | type[bytes] | None] = {
    MessageKind.CONNECT_REQUEST: bodies.ConnectRequest,
    MessageKind.CONNECT_RESPONSE: bodies.ConnectResponse,
    MessageKind.CONNECT_REFUSED: bodies.ConnectRefused,
    MessageKind.REQUEST_NAME: bodies.RequestName,
    MessageKind.NAME_VOTE: bodies.NameVote,
    MessageKind.FIND_GROUP: bodies.FindGroup,
    MessageKind.GROUP_IS: bodies.GroupIs,
    MessageKind.UNROUTABLE: bodies.Unroutable,
    MessageKind.ACKNOWLEDGED: bodies.Acknowledged,
    MessageKind.COPY: wire.Envelope,
    MessageKind.BUSY: bodies.Busy,
    MessageKind.VOUCH: bodies.Vouch,
    MessageKind.VOUCHED: bodies.Vouched,
    MessageKind.REGISTER: bodies.Register,
    MessageKind.RECORDS: bodies.Records,
    MessageKind.MESSAGE: None,
    MessageKind.REQUEST: None,
    MessageKind.REPLY: bodies.Reply,
    MessageKind.BALLOT: bodies.Ballot,
    MessageKind.PART: bodies.Part,
    MessageKind.WHOLE_WANTED: bodies.WholeWanted,
    MessageKind.MOVED: bodies.Moved,
    MessageKind.FORWARDED: wire.Envelope,
    MessageKind.MESSAGES: bytes,
}
"""Message kind -> the record of its body; `bytes` where it is none, None where the body is the
application's payload."""

HOST_KINDS = frozenset({FrameKind.CLOSE, FrameKind.HEARTBEAT})
"""Frames that end in the host of a connection, whatever its role."""

_ADDRESSES = (wire.NodeAddress, wire.ClientAddress, wire.GroupAddress, wire.ViaAddress)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _escaped(cell: object) -> str:
    return str(cell).replace("|", "\\|")


# -- enumerations


def enumeration(kind: type[IntEnum]) -> str:
    """Return a table of the members of an enumeration: number, name, meaning."""
    rows = ((number, f"`{name}`", text) for name, number, text in members(kind))
    return _table(("number", "name", "meaning"), rows)


def frame_kinds() -> str:
    """Return a table of the frame kinds and their bodies."""
    rows = []
    for name, number, _ in members(FrameKind):
        record = BODIES[FrameKind(number)]
        body = "empty" if record is None else f"`{record.__name__}`"
        body = "its own form" if record is bytes else body
        rows.append((number, f"`{name}`", body))
    return _table(("kind", "name", "body"), rows)


def message_kinds() -> str:
    """Return a table of the kinds of routed message, their bodies and who may send them."""
    rows = []
    for name, number, _ in members(MessageKind):
        kind = MessageKind(number)
        record = MESSAGE_BODIES[kind]
        body = "the payload" if record is None else f"`{record.__name__}`"
        body = "its own form" if record is bytes else body
        rows.append((number, f"`{name}`", body, "yes" if kind in JOINER_KINDS else ""))
    return _table(("kind", "name", "body", "a joiner or feeler may send it"), rows)


# -- records


def fields(record: type[Struct]) -> str:
    """Return the docstring of a wire record and a table of its fields."""
    about = described(record)
    info = shape.type_info(record)
    assert isinstance(info, shape.StructType)
    assert info.array_like, f"{record.__name__} is not an array on the wire"
    rows: list[tuple[object, ...]] = []
    if info.tag is not None:
        rows.append((0, "tag", f"int, always {info.tag}", ""))
    for field in info.fields:
        text = about.members.get(field.name, "")
        rows.append((len(rows), f"`{field.name}`", _type(field.type), text))
    return f"{about.text}\n\n{_table(('', 'field', 'type and bound', 'meaning'), rows)}"


def addresses() -> str:
    """Return the tables of the four address forms."""
    return "\n\n".join(f"**{kind.__name__}.** {fields(kind)}" for kind in _ADDRESSES)


def _type(kind: shape.Type) -> str:
    match kind:
        case shape.BytesType():
            return "bin" + _span(kind.min_length, kind.max_length, " bytes")
        case shape.StrType():
            return "str" + _span(kind.min_length, kind.max_length, " characters")
        case shape.IntType():
            return f"int, {kind.ge} to {kind.le}"
        case shape.BoolType():
            return "bool"
        case shape.NoneType():
            return "nil"
        case shape.EnumType():
            return f"int, a `{kind.cls.__name__}`"
        case shape.ListType():
            return f"array{_span(kind.min_length, kind.max_length, ' elements')}, each: " + _type(
                kind.item_type
            )
        case shape.StructType():
            return f"`{kind.cls.__name__}`"
        case shape.UnionType():
            structs = [t.cls for t in kind.types if isinstance(t, shape.StructType)]
            if set(structs) == set(_ADDRESSES):
                return "an address"
            return " or ".join(_type(each) for each in kind.types)
        case _:
            raise NotImplementedError(f"a field of type {kind} has no rendering")


def _span(low: int | None, high: int | None, unit: str) -> str:
    if low is None and high is None:
        return ""
    if low == high:
        return f", exactly {high:,}{unit}"
    return f", at most {high:,}{unit}" if low is None else f", {low:,} to {high:,}{unit}"


# -- the rules of connections


def verdict(role: LinkRole, kind: FrameKind, detail: Detail, hello: HelloRole | None = None) -> str:
    """Return what becomes of a frame that comes in: an accepting word, or a close code's name.

    Args:
        role: Of the connection it comes in on.
        kind: Of the frame.
        detail: The state of the node that receives it.
        hello: The role a HELLO names; only for HELLO on an UNKNOWN connection.
    """
    if detail is Detail.TERMINATED:
        return CloseCode.STOPPING.name
    if kind in HOST_KINDS:
        return "accept"
    if kind not in ALLOWED[role]:
        bad_hello = kind is FrameKind.HELLO or role is LinkRole.UNKNOWN
        return (CloseCode.BAD_HELLO if bad_hello else CloseCode.BAD_FRAME).name
    if kind is FrameKind.HELLO:
        assert hello is not None, "a Hello names a role"
        return _ON_HELLO_WORDS[ON_HELLO[detail, hello]]
    return "accept"


_ON_HELLO_WORDS = {
    OnHello.CLOSE: CloseCode.STOPPING.name,
    OnHello.GREET: "greet",
    OnHello.ADMIT: "admit",
    OnHello.FOUND_OR_REFUSE: "found or refuse",
}

_ON_CONNECT_WORDS = {
    OnConnect.CLOSE: "close",
    OnConnect.BOOTSTRAP: "bootstrap dial, or close",
    OnConnect.EXPECTED: "expected or feeler, or close",
    OnConnect.HOLD: "hold as unknown",
}


def accept_table() -> str:
    """Return role x kind x state: a row for what is accepted, one for all that is not."""
    rows: list[list[str]] = []
    for role in LinkRole:
        merged: dict[tuple[str, ...], list[str]] = {}
        for kind in FrameKind:
            if role is LinkRole.UNKNOWN and kind is FrameKind.HELLO:
                for hello in HelloRole:
                    cells = tuple(verdict(role, kind, detail, hello) for detail in Detail)
                    merged.setdefault(cells, []).append(f"HELLO {hello.name}")
                continue
            cells = tuple(verdict(role, kind, detail) for detail in Detail)
            merged.setdefault(cells, []).append(kind.name)
        for cells, kinds in merged.items():
            rows.append([f"`{role.name}`", ", ".join(kinds), *(_cell(cell) for cell in cells)])
    return _table(("role", "frame kinds", *(detail.name for detail in Detail)), rows)


def _cell(word: str) -> str:
    return f"close `{word}`" if word in CloseCode.__members__ else word


def connect_table() -> str:
    """Return who x state x direction -> what a finished channel may be."""
    rows = []
    for detail in Detail:
        cells = [
            _ON_CONNECT_WORDS[ON_CONNECT[client, detail, direction]]
            for client in (False, True)
            for direction in Direction
        ]
        rows.append((f"`{detail.name}`", *cells))
    head = [f"{who}, {direction.name}" for who in ("node", "client") for direction in Direction]
    return _table(("state", *head), rows)


# -- limits


def duration(nanoseconds: int) -> str:
    """Return nanoseconds as milliseconds or seconds, whichever reads better."""
    if nanoseconds % 1_000_000_000 == 0:
        return f"{nanoseconds // 1_000_000_000:,} s"
    if nanoseconds % 1_000_000 == 0:
        return f"{nanoseconds // 1_000_000:,} ms"
    return f"{nanoseconds:,} ns"


def limits_table() -> str:
    """Return every limit with its recommended and its local value and its reason."""
    texts = described(Limits).members
    recommended, local = Limits.recommended(), Limits.local()
    rows = []
    for name in Limits.__dataclass_fields__:
        usual, fast = (_value(name, getattr(each, name)) for each in (recommended, local))
        rows.append((f"`{name}`", usual, "" if fast == usual else fast, texts[name]))
    return _table(("limit", "recommended", "local, if other", "reason"), rows)


def _value(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | tuple):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(_value(name, each) if isinstance(each, int) else each for each in value)
    return duration(value) if name.endswith("_ns") else f"{value:,}"
