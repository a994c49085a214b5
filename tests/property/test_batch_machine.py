"""Batches and their twin: the same bytes, the same messages, the same refusals."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from routing import _batch
from routing._message import keep
from routing.events import Message, Proof
from routing.messages import NodeAddress
from tests.twin import batch_twin, message_twin

__all__: list[str] = []

HERE, THERE, KEY = NodeAddress(b"h" * 32), NodeAddress(b"t" * 32), b"k" * 32

PREFIXES = st.binary(min_size=12, max_size=12).map(lambda drawn: drawn + bytes(4))
SIZES = st.one_of(st.integers(0, 40), st.sampled_from([80_000, 131_061, 262_119, 262_120, 270_000]))
PAYLOADS = st.lists(SIZES.map(bytes), min_size=1, max_size=12)


def unpacked(body: bytes) -> list[Message] | None:
    return _batch.unpack(body, THERE, HERE, KEY, Proof.CHANNEL)


def fields(message: Message | message_twin.Message) -> tuple[object, ...]:
    return tuple(getattr(message, name) for name in Message.__match_args__)


def of(body: bytes) -> None:
    """Read a body in both ways."""
    ours = unpacked(body)
    theirs = batch_twin.unpack(body, THERE, HERE, KEY, Proof.CHANNEL)
    assert (ours is None) == (theirs is None)
    assert list(map(fields, ours or [])) == list(map(fields, theirs or []))
    lent = _batch.unpack(body, THERE, HERE, KEY, Proof.CHANNEL, borrowed=True)
    assert (lent is None) == (theirs is None)
    assert list(map(fields, keep(lent or []))) == list(map(fields, theirs or []))


@given(PREFIXES, PAYLOADS)
def test_batches_are_the_twin_s_and_hold_every_payload_in_order(
    first: bytes, payloads: list[bytes]
) -> None:
    start, seen = 0, []
    while start < len(payloads):
        body, end = _batch.pack(first, payloads, start)
        assert (body, end) == batch_twin.pack(first, payloads, start) and end > start
        messages = unpacked(body)
        assert messages is not None
        seen += [message.payload for message in messages]
        assert [message.id for message in messages] == [
            first[:12] + place.to_bytes(4, "big") for place in range(end - start)
        ]
        start = end
    assert seen == payloads


@given(st.binary(max_size=120))
def test_any_bytes_are_read_as_the_twin_reads_them(body: bytes) -> None:
    of(body)


@given(PREFIXES, PAYLOADS, st.data())
def test_a_batch_cut_short_or_changed_is_read_as_the_twin_reads_it(
    first: bytes, payloads: list[bytes], data: st.DataObject
) -> None:
    body, _ = _batch.pack(first, payloads)
    at = data.draw(st.integers(0, len(body) - 1))
    of(body[:at])
    of(body[:at] + bytes([data.draw(st.integers(0, 255))]) + body[at + 1 :])
    of(body + body[16:])


def of_list(first: bytes, body: bytes) -> None:
    """Read a list in both ways."""
    fault = _batch.list_fault(first, body)
    assert fault == batch_twin.list_fault(first, body)
    whole = THERE, HERE, KEY, Proof.SIGNATURE
    ours = _batch.unpack_list(first, body, *whole)
    theirs = batch_twin.unpack_list(first, body, *whole)
    assert (ours is None) == (theirs is None) == bool(fault)
    assert list(map(fields, ours or [])) == list(map(fields, theirs or []))
    lent = _batch.unpack_list(first, body, *whole, borrowed=True)
    assert list(map(fields, keep(lent or []))) == list(map(fields, theirs or []))
    assert _batch.blank_list(body) == batch_twin.blank_list(body)
    if not _batch.list_fault(bytes(16), body):
        blank = _batch.unpack_list(bytes(16), _batch.blank_list(body), *whole)
        assert blank is not None and len(blank) == _batch.list_count(body)
        assert not any(any(message.payload) for message in blank)


@given(PREFIXES, PAYLOADS)
def test_lists_are_the_twin_s_and_hold_every_payload_in_order(
    first: bytes, payloads: list[bytes]
) -> None:
    start, seen = 0, []
    while start < len(payloads):
        body, end = _batch.pack_list(payloads, start)
        assert (body, end) == batch_twin.pack_list(payloads, start) and end > start
        assert _batch.survey(payloads, start, _batch.LIST_BYTES_MAX)[0] == end
        of_list(first, body)
        messages = _batch.unpack_list(first, body, THERE, HERE, KEY, Proof.SIGNATURE)
        if end - start == 1:
            assert messages is None and _batch.list_count(body) == 0
            seen.append(payloads[start])
        else:
            assert messages is not None and _batch.list_count(body) == len(messages)
            seen += [message.payload for message in messages]
            assert [message.id for message in messages] == [
                first[:12] + place.to_bytes(4, "big") for place in range(end - start)
            ]
        start = end
    assert seen == payloads


@given(st.one_of(PREFIXES, st.binary(max_size=20)), st.binary(max_size=120))
def test_any_bytes_are_read_as_the_twin_reads_a_list(first: bytes, body: bytes) -> None:
    of_list(first, body)


@given(PREFIXES, PAYLOADS, st.data())
def test_a_list_cut_short_or_changed_is_read_as_the_twin_reads_it(
    first: bytes, payloads: list[bytes], data: st.DataObject
) -> None:
    body, _ = _batch.pack_list(payloads)
    at = data.draw(st.integers(0, len(body) - 1))
    of_list(first, body[:at])
    of_list(first, body[:at] + bytes([data.draw(st.integers(0, 255))]) + body[at + 1 :])
    of_list(first, body + body)


@given(PAYLOADS, st.data())
def test_survey_is_the_twin_s(payloads: list[bytes], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(payloads)))
    room = data.draw(st.integers(0, 200_000))
    assert _batch.survey(payloads, start, room) == batch_twin.survey(payloads, start, room)


@given(st.lists(SIZES.map(bytes), max_size=12))
def test_volume_is_the_twin_s(payloads: list[bytes]) -> None:
    assert _batch.volume(payloads) == batch_twin.volume(payloads)
