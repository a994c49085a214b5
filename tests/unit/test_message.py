"""A message is what it was made of, cannot be changed, and can be kept, compared and copied."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from routing._batch import pack, unpack
from routing.events import Message, Proof
from routing.messages import Authority, AuthorityKind, NodeAddress
from tests.twin import message_twin

__all__: list[str] = []

THERE, HERE = NodeAddress(b"t" * 32), NodeAddress(b"h" * 32)
FIELDS: dict[str, Any] = {
    "source": THERE,
    "destination": HERE,
    "payload": b"hello",
    "key": b"k" * 32,
    "proof": Proof.SIGNATURE,
    "id": b"i" * 16,
    "request": True,
    "token": b"t" * 32,
    "authority": Authority(AuthorityKind.NODE, b"e" * 32),
}


def of_a_batch() -> list[Message]:
    body, _ = pack(b"f" * 12 + bytes(4), [b"one", b"two"])
    found = unpack(body, THERE, HERE, b"k" * 32, Proof.CHANNEL)
    assert found is not None
    return found


def test_message_is_what_it_was_made_of() -> None:
    message, twin = Message(**FIELDS), message_twin.Message(**FIELDS)
    assert {name: getattr(message, name) for name in FIELDS} == FIELDS
    assert repr(message) == repr(twin) and tuple(FIELDS) == Message.__match_args__


def test_a_token_and_an_authority_are_for_some_only() -> None:
    first = [FIELDS[name] for name in Message.__match_args__[:7]]
    message = Message(*first)
    assert message.token == b"" and message.authority is None


@pytest.mark.parametrize("name", FIELDS)
def test_messages_are_equal_if_all_of_them_is(name: str) -> None:
    other = {**FIELDS, name: not FIELDS[name] if name == "request" else b"other"}
    one, same, differs = Message(**FIELDS), Message(**FIELDS), Message(**other)
    assert one == same and hash(one) == hash(same)
    assert one != differs and one != message_twin.Message(**FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_nothing_of_a_message_can_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Message(**FIELDS), name, FIELDS[name])


@pytest.mark.parametrize("name", ["payload", "key", "id", "token"])
@pytest.mark.parametrize("wrong", [None, "text", bytearray(16)])
def test_bytes_are_bytes(name: str, wrong: object) -> None:
    with pytest.raises(TypeError, match=name):
        Message(**{**FIELDS, name: wrong})


def test_messages_of_a_batch_have_ids_that_follow_each_other() -> None:
    one, two = of_a_batch()
    assert (one.id, two.id) == (b"f" * 12 + bytes(4), b"f" * 12 + bytes([0, 0, 0, 1]))
    assert two == Message(THERE, HERE, b"two", b"k" * 32, Proof.CHANNEL, two.id, False)
    assert (one.payload, two.payload) == (b"one", b"two")


def test_messages_can_be_copied_and_sent_to_another_process() -> None:
    for message in (Message(**FIELDS), *of_a_batch()):
        assert copy.copy(message) == message
        assert pickle.loads(pickle.dumps(message)) == message


def test_message_of_a_batch_outlives_it() -> None:
    """What it shares with others is its own as well, and its place goes to later ones."""
    kept = [of_a_batch()[1] for _ in range(3_000)]
    del kept[::2]
    of_a_batch()
    assert {message.payload for message in kept} == {b"two"}


def test_match_statement_reads_messages() -> None:
    match Message(**FIELDS):
        case Message(payload=payload, request=True):
            assert payload == b"hello"
        case _:
            pytest.fail("no message was seen")
