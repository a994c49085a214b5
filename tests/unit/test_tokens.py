"""The connection-token table's promises one by one."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

from routing._tokens import ByToken, TokenTable
from routing.errors import NameBound, TokenTableFull, UsageError

__all__: list[str] = []

LAST = 2**32 - 1
ALICE = b"a" * 32
BOB = b"b" * 32


def test_token_is_generation_and_slot() -> None:
    room: TokenTable[str] = TokenTable(4)
    first, second = room.add("a"), room.add("b")
    assert (first, second) == (1 << 32, 1 << 32 | 1)
    assert (room.get(first), room.get(second)) == ("a", "b")
    room.remove(first)
    assert room.add("c") == 2 << 32


@pytest.mark.parametrize(
    "foreign", [0, -1, 1, 5, 1 << 32 | 3, 2**63, 2**64, 2**64 + 2**32, -(2**70)]
)
def test_foreign_token_never_resolves(foreign: int) -> None:
    room: TokenTable[str] = TokenTable(4)
    room.add("a")
    assert room.get(foreign) is None and foreign not in room
    assert room.remove(foreign) is None and room.unbind(foreign) is None
    assert room.name_of(foreign) is None
    with pytest.raises(UsageError, match="token"):
        room.bind(foreign, ALICE)
    assert len(room) == 1


def test_stale_token_never_resolves() -> None:
    room: TokenTable[int] = TokenTable(2)
    stale: list[int] = []
    for number in range(1_000):
        token = room.add(number)
        assert all(room.get(old) is None for old in stale[-20:])
        assert room.remove(token) == number and room.remove(token) is None
        stale.append(token)
    assert len(set(stale)) == 1_000


def test_slot_is_retired_after_its_last_generation() -> None:
    room: TokenTable[str] = TokenTable(1, first_generation=LAST - 1)
    tokens = []
    for number in range(5):
        tokens.append(room.add(str(number)))
        room.remove(tokens[-1])
        room._check()
    assert tokens == [
        (LAST - 1) << 32,
        LAST << 32,
        (LAST - 1) << 32 | 1,
        LAST << 32 | 1,
        (LAST - 1) << 32 | 2,
    ]
    assert room.retired == 2 and 0 not in tokens


def test_full_table_says_so() -> None:
    room: TokenTable[str] = TokenTable(2)
    first = room.add("a")
    room.add("b")
    with pytest.raises(TokenTableFull, match="2 connections, capacity=2"):
        room.add("c")
    room.remove(first)
    room.add("c")
    assert len(room) == 2


def test_name_leads_to_its_token_and_back() -> None:
    room: TokenTable[str] = TokenTable(4)
    token = room.add("a")
    assert room.by_name(ALICE) == 0
    room.bind(token, ALICE)
    room.bind(token, ALICE)
    assert room.by_name(ALICE) == token and room.name_of(token) == ALICE
    assert room.unbind(token) == ALICE and room.unbind(token) is None
    assert room.by_name(ALICE) == 0


def test_name_is_bound_once() -> None:
    room: TokenTable[str] = TokenTable(4)
    first, second = room.add("a"), room.add("b")
    room.bind(first, ALICE)
    with pytest.raises(NameBound, match="name 61616161 is bound to token 0x100000000"):
        room.bind(second, ALICE)
    with pytest.raises(UsageError, match="has the name 61616161"):
        room.bind(first, BOB)
    assert room.by_name(BOB) == 0 and room.name_of(second) is None


def test_removed_connection_frees_its_name() -> None:
    room: TokenTable[str] = TokenTable(4)
    first, second = room.add("a"), room.add("b")
    room.bind(first, ALICE)
    room.remove(first)
    assert room.by_name(ALICE) == 0
    room.bind(second, ALICE)
    assert room.by_name(ALICE) == second


def test_iteration_is_by_slot_and_of_its_beginning() -> None:
    room: TokenTable[int] = TokenTable(100)
    tokens = [room.add(number) for number in range(6)]
    room.remove(tokens[2])
    seen = []
    for token in room:
        seen.append(token)
        room.remove(token)
    assert seen == [*tokens[:2], *tokens[3:]] and list(room) == [] and len(room) == 0


def test_name_that_is_a_subclass_of_bytes_is_held_as_plain_bytes() -> None:
    class Loud(bytes):
        def __hash__(self) -> int:
            raise AssertionError("the table must not ask")

    room: TokenTable[str] = TokenTable(1)
    token = room.add("a")
    room.bind(token, Loud(ALICE))
    assert room.by_name(Loud(ALICE)) == token and type(room.name_of(token)) is bytes


def test_misuse_is_refused() -> None:
    room: TokenTable[object] = TokenTable(1)
    with pytest.raises(UsageError, match="None"):
        room.add(None)
    with pytest.raises(TypeError, match="token of type str"):
        room.get("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name of type str"):
        room.by_name("a")  # type: ignore[arg-type]
    token = room.add("a")
    with pytest.raises(TypeError, match="name of type NoneType"):
        room.bind(token, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [0, -1, 2**30 + 1])
def test_bad_capacity_is_refused(capacity: int) -> None:
    with pytest.raises(UsageError, match="capacity="):
        TokenTable(capacity)


@pytest.mark.parametrize("generation", [0, -1, 2**32])
def test_bad_first_generation_is_refused(generation: int) -> None:
    with pytest.raises(UsageError, match="first_generation="):
        TokenTable(1, first_generation=generation)


def test_what_is_no_integer_is_refused() -> None:
    with pytest.raises(TypeError, match="capacity=True"):
        TokenTable(True)
    with pytest.raises(TypeError, match=r"capacity=1\.5"):
        TokenTable(1.5)  # type: ignore[arg-type]


def test_connection_that_uses_the_table_as_it_dies_is_survived() -> None:
    room: TokenTable[object] = TokenTable(2)

    class Last:
        def __del__(self) -> None:
            told.append(room.get(token))
            told.append(room.add("from the grave"))

    told: list[object] = []
    token = room.add(Last())
    room.remove(token)
    gc.collect()
    room._check()
    assert told == [None, 2 << 32]


def test_cycle_through_the_table_is_collected() -> None:
    class Owner:
        def __init__(self) -> None:
            self.room: TokenTable[Owner] = TokenTable(1)
            self.room.add(self)

    owner = Owner()
    watch = weakref.ref(owner)
    del owner
    gc.collect()
    assert watch() is None


def test_repr_shows_what_matters() -> None:
    room: TokenTable[str] = TokenTable(3)
    room.bind(room.add("a"), ALICE)
    assert repr(room) == "<TokenTable capacity=3 live=1 named=1>"


@pytest.mark.skipif(not os.environ.get("ROUTING_EXPECT_SANITIZED"), reason="not a debug build")
def test_debug_build_refuses_another_thread() -> None:
    room: TokenTable[str] = TokenTable(1)
    refused: list[str] = []

    def use() -> None:
        try:
            room.get(1)
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(refused) == 1 and "outside the thread" in refused[0]


# -- what is known by its token


class Line(ByToken):
    def __init__(self, token: int, name: str = "") -> None:
        self.token, self.name = token, name


def test_by_token_is_equal_and_hashed_by_the_token_alone() -> None:
    one, same, other = Line(2**64 - 1, "a"), Line(2**64 - 1, "b"), Line(1, "a")
    assert one == same and hash(one) == hash(same)
    assert one != other and one != 2**64 - 1
    assert {one: 1}[same] == 1


@pytest.mark.parametrize("token", [1, 2**32 + 5, 2**61 - 1, 2**61, 2**63, 2**64 - 1])
def test_by_token_is_hashed_as_the_number_is(token: int) -> None:
    assert hash(Line(token)) == hash(token)


def test_by_token_made_without_a_constructor_is_known_by_its_token() -> None:
    made = [Line.__new__(Line), Line.__new__(Line)]
    for token, line in enumerate(made, 1):
        line.token = token
    assert made[0] != made[1] and made[1] == Line(2) and len(set(made)) == 2


@pytest.mark.parametrize("token", [0, -1, 2**64])
def test_by_token_refuses_what_is_no_token(token: int) -> None:
    with pytest.raises((OverflowError, UsageError)):
        hash(Line(token))
    with pytest.raises(AttributeError, match="token"):
        hash(ByToken())
