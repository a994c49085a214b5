"""One answer of a group: a quorum of its members, found by the same search, replied the same.

It compares payloads and knows nothing of what they say. Who waits, and for how long, is kept with
the request in `messaging`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing import actions as do
from routing.authority import quorum_of
from routing.bodies import Reply
from routing.groups import Group
from routing.messages import Address, GroupAddress, NodeAddress

if TYPE_CHECKING:
    from routing.core import Core
    from routing.requests import Pending

__all__ = ["Agreement", "Opinion"]

OPINIONS_MAX: Final = 32
"""Replies to one request that wait until it is known who the members are."""


class Opinion(Struct):
    """One reply to a request that wants a quorum."""

    name: bytes
    key: bytes
    failed: bool
    payload: bytes


class Agreement:
    """Replies of group members that are compared before the application is answered."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.bytes = 0
        """Of the distinct payloads held for all requests."""
        self.asked: dict[bytes, bytes] = {}
        """Id of a request that wants a quorum -> the name that its group is around."""

    def begin(self, message_id: bytes, pending: Pending) -> None:
        """A request leaves: find out who its group is while it is on its way."""
        assert isinstance(pending.destination, GroupAddress)
        self.asked[message_id] = pending.destination.name
        self.core.groups.wanted(pending.destination.name)

    def is_member(self, pending: Pending, source: Address) -> bool:
        """Tell whether a reply may come from a member, as far as that is known without asking."""
        if not isinstance(pending.destination, GroupAddress):
            return True
        group = self.core.groups.known(pending.destination.name)
        return group is None or (isinstance(source, NodeAddress) and source.name in group.members)

    def on_reply(self, pending: Pending, name: bytes, key: bytes, reply: Reply) -> None:
        """A reply with the right token, the first of this key."""
        core = self.core
        assert isinstance(pending.destination, GroupAddress)
        if len(pending.opinions) >= OPINIONS_MAX:
            core.count("reply.too_many")
            return
        payload = next(
            (each.payload for each in pending.opinions if each.payload == reply.payload), None
        )
        if payload is None:
            payload = reply.payload
            if self.bytes + len(payload) > core.limits.ballot_bytes:
                core.count("reply.no_room")
                return
            self.bytes += len(payload)
        pending.opinions.append(Opinion(name, key, reply.failed, payload))
        group = core.groups.wanted(pending.destination.name, name)
        if group is not None:
            self._weigh(reply.id, pending, group)

    def on_group(self, target: bytes) -> None:
        """The members around a name are known now."""
        core = self.core
        group = core.groups.known(target)
        if group is None:
            return
        for message_id in [each for each, name in self.asked.items() if name == target]:
            self._weigh(message_id, core.messaging.pending[message_id], group)

    def forget(self, message_id: bytes, pending: Pending) -> None:
        """The request has ended, one way or another."""
        self.asked.pop(message_id, None)
        if not pending.opinions:
            return
        self.bytes -= sum(map(len, _distinct(pending.opinions)))
        pending.opinions = []

    def recount(self) -> None:
        """Take stock anew: the requests come from a snapshot."""
        waiting = self.core.messaging.pending
        self.asked = {
            message_id: each.destination.name
            for message_id, each in waiting.items()
            if each.agree and isinstance(each.destination, GroupAddress)
        }
        self.bytes = sum(len(p) for each in waiting.values() for p in _distinct(each.opinions))

    def _weigh(self, message_id: bytes, pending: Pending, group: Group) -> None:
        core = self.core
        strangers = [each for each in pending.opinions if each.name not in group.members]
        if strangers:
            before = sum(map(len, _distinct(pending.opinions)))
            for each in strangers:
                core.count("reply.not_member")
                pending.opinions.remove(each)
            self.bytes -= before - sum(map(len, _distinct(pending.opinions)))
        need = quorum_of(group.size)
        same: dict[tuple[bool, bytes], int] = {}
        for each in pending.opinions:
            opinion = (each.failed, each.payload)
            same[opinion] = same.get(opinion, 0) + 1
        for (failed, payload), count in same.items():
            if count >= need and not failed:
                source = pending.destination
                core.messaging.end(message_id)
                core.count("reply.agreed")
                core.act(do.Answered(pending.reference, payload, source, b""))
                return
        best = max((count for (failed, _), count in same.items() if not failed), default=0)
        silent = len(group.members) - len(pending.opinions)
        if best + silent < need:
            self._fail(message_id, pending, best, need, group)

    def _fail(
        self, message_id: bytes, pending: Pending, best: int, need: int, group: Group
    ) -> None:
        """Whatever the silent say, no quorum can agree any more."""
        failures = [each for each in pending.opinions if each.failed]
        if failures and not best:
            text = failures[-1].payload.decode("utf-8", "replace")
            reason = f"handler failed: {text}"
        else:
            reason = f"no quorum: {best} of {group.size} members agree, {need} are needed"
        self.core.messaging.fail(message_id, pending.reference, reason)


def _distinct(opinions: list[Opinion]) -> list[bytes]:
    return list(dict.fromkeys(each.payload for each in opinions))
