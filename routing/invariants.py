"""What must be true of one core after every step; asserted by simulations and tests.

Global invariants (both ends agree, the network is whole) need more than one core and are asserted
by the simulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routing.dials import Purpose
from routing.state import LinkRole, State

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["check"]


def check(core: Core) -> None:
    """Assert invariants 1, 2, 3, 5 and 7 as far as one core can see them.

    Raises:
        AssertionError: naming the one that is broken.
    """
    _check_table(core)
    _check_owners(core)
    _check_bounds(core)
    _check_parts(core)
    _check_clients(core)
    computed = State.of(*core._state_facts())
    assert core.state == computed, "5: the state is not the function of the tables"


def _check_table(core: Core) -> None:
    consolidated = core.links_of(LinkRole.CONSOLIDATED)
    names = [link.name for link in consolidated]
    keys = [link.key for link in consolidated]
    assert len(set(names)) == len(names), "1: two consolidated connections under one name"
    assert len(set(keys)) == len(keys), "1: two consolidated connections to one key"
    assert sorted(names) == sorted(core.table.names()), "3: table and connections differ"
    for link in consolidated:
        assert core.table.token(link.name) == link.token, "3: the table names another connection"
        assert core.table.key(link.name) == link.key, "4: the table names another key"
        assert link.key != core.key, "1: connected to ourselves"


def _check_owners(core: Core) -> None:
    """Every connection has one owner, and every owner that is pending a deadline."""
    attempts = core.attempts.live()
    owned = [token for a in attempts for token in (a.primary, a.secondary) if token]
    assert len(set(owned)) == len(owned), "2: a connection of two attempts"
    for link in core.links.values():
        of_attempt = link.role in (LinkRole.PRIMARY, LinkRole.SECONDARY)
        assert (link.token in owned) is of_attempt, f"2: {link.role.name} without an attempt"
        subject = link.token.to_bytes(8, "big")
        if link.role is LinkRole.UNKNOWN:
            held = link.connection in [
                c for c, _, _ in core.attempts.unknown.deadlines(now=core.now)
            ]
            assert held, "2: an unknown connection without a deadline"
        elif link.role is LinkRole.BOOTSTRAP and not link.admitted:
            assert ("admit", subject) in core.alarms, "2: a contact without a deadline"
        elif link.role is LinkRole.FEELER:
            assert core.feelers.token == link.token, "2: a feeler without an owner"
            assert ("felt", b"") in core.alarms, "2: a feeler without a deadline"
        elif link.role in (LinkRole.RELAY, LinkRole.FELT):
            assert ("relay", subject) in core.alarms, "2: a joiner without a deadline"
    if core.attempts.known:
        due, earliest = core.attempts.due, core.attempts.earliest()
        late = earliest is not None and (due is None or due > earliest)
        assert not late, "2: what is held is forgotten later than it is due"
    for token in owned:
        assert token in core.links, "2: an attempt owns a dead connection"
    admitted = core.bootstrapping.admitted_count()
    assert admitted <= 1, f"2: {admitted} proxies at once"
    if core.stopped:
        assert not core.links and not core.alarms, "10: something is left after stop"


def _check_parts(core: Core) -> None:
    """Large messages are accounted for, their parts under way, and what comes has a deadline."""
    limits, parts = core.limits, core.parts
    assert parts.bytes == sum(len(each.body) for each in parts.open.values()), "7: bytes of parts"
    flying = [part_id for each in parts.open.values() for part_id in each.flying]
    assert flying == [] or all(i in core.delivery.underway for i in flying), "2: a part let go"
    assert sorted(flying) == sorted(parts.whole_of), "2: a part of no message"
    held = sum(each.size for each in core.assembly.open.values())
    assert held <= limits.reassembly_bytes, "7: more than may be put together at once"
    for subject in core.assembly.open:
        assert ("assembly", subject) in core.alarms, "2: an assembly without a deadline"


def _check_clients(core: Core) -> None:
    """What is kept for clients that move is accounted for, bounded, and has a deadline."""
    limits, moving, answers = core.limits, core.moving, core.answers
    held = sum(len(each) for each in moving.held.values())
    assert moving.bytes <= limits.client_hold_bytes, "7: more is held for clients than may be"
    assert (moving.bytes > 0) == (held > 0), "7: bytes of what is held"
    for key in moving.held:
        assert ("held", key) in core.alarms, "2: held without a deadline"
    for key in moving.doubts:
        assert ("doubt", key) in core.alarms, "2: a doubt without a deadline"
    asked = sum(len(each.signed) for each in moving.asked.values())
    assert moving.asked_bytes == asked <= limits.unacknowledged_bytes, "7: bytes of requests"
    for message_id in moving.asked:
        assert message_id in core.messaging.pending, "2: kept for a request that has ended"
    for message_id in moving.announced:
        assert message_id in core.delivery.underway, "2: a MOVED that is not under way"
    assert answers.bytes <= limits.replies_kept_bytes, "7: more replies are kept than may be"


def _check_bounds(core: Core) -> None:
    limits = core.limits
    assert core.attempts.backlog == 0, "7: departed entries wait after a step"
    assert len(core.attempts.by_name) == len(core.attempts.live()), "7: names of dead attempts"
    assert len(core.table) <= limits.table_max, "7: the table is over its cap"
    live = [flight for flight in core.dials.flights.values() if not flight.cancelled]
    assert len(live) <= limits.dials_max, "7: too many dials in flight"
    for flight in live:
        if flight.purpose in (Purpose.PRIMARY, Purpose.SECONDARY):
            assert core.attempts.get(flight.owner) is not None, "2: a dial of a dead attempt"
        if flight.purpose is Purpose.CHECK:
            assert ("reach", flight.owner) in core.alarms, "2: a check without a deadline"
    for shares in (core.ballots.counted, core.ballots.waiting):
        assert shares.bytes <= shares.bytes_max, "7: too many voices are held"
    for subject in core.ballots.tallies:
        assert ("ballots", subject) in core.alarms, "2: a tally without a deadline"
    asking = core.vouching.open
    waiting = sum(each.request is not None for each in asking.values())
    assert waiting <= limits.vouches_max, "7: too many requests wait to be vouched for"
    assert len(core.registrar.records) <= limits.records_max, "7: too many names are kept"
    for subject in asking:
        assert ("vouch", subject) in core.alarms, "2: an inquiry without a deadline"
    due = core.next_deadline()
    assert due is None or due > core.now, f"7: a deadline in the past: {due} at {core.now}"
