"""Who should be connected with whom: join, repair, refresh; the rules that keep a network whole.

`FindGroup` asks towards a name who is nearest to it; neighbours send each other their lists; and
whoever learns of a name that belongs to his close group, or into a bucket of his that holds fewer
than two, starts an attempt with it, with the teller as the first hop.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from msgspec import Struct

from routing.bodies import FindGroup, GroupIs
from routing.errors import CloseCode
from routing.limits import GROUP_SIZE, ROUTES_MAX
from routing.links import Arrival, Link
from routing.messages import (
    Address,
    ClientAddress,
    FrameKind,
    GroupAddress,
    MessageKind,
    Neighbours,
    NodeAddress,
    ViaAddress,
    decode,
    encode,
)
from routing.names import bucket_index, flip_bit, nearest
from routing.responding import is_own_reply_address
from routing.state import Detail

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Find", "Membership"]

FINDS_MAX = 64
"""Questions under way: one for each bucket of a network of any size, and a few more."""


class Find(Struct):
    """A FindGroup under way."""

    target: bytes
    via: int
    """Token of the proxy or feeler it goes through, 0 for the table."""
    hop: bytes
    """The first hop of the first sending, if it is to be a particular one."""
    tries: int = 0


class Membership:
    """Join, repair and refresh of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.joining = False
        self.finds: dict[bytes, Find] = {}
        self.lists: dict[bytes, list[bytes]] = {}
        """Neighbour -> the last list it sent; entries leave with the peer."""
        self.sent: dict[bytes, bytes] = {}
        """Neighbour -> digest of the last list we sent it."""
        self.bucket_due: dict[int, int] = {}
        """Bucket -> when it counts as idle."""

    # -- what belongs to us

    def needs(self, name: bytes) -> bool:
        """Tell whether a name belongs to our close group or into a bucket that holds too few."""
        core = self.core
        assert core.name is not None
        group = core.table.close_group()
        if len(group) < GROUP_SIZE or nearest(core.name, [name, group[-1]], 1) == [name]:
            return True
        bucket = bucket_index(core.name, name)
        return core.table.bucket_size(bucket) < core.limits.bucket_low

    def consider(self, names: list[bytes], teller: bytes, via: Link | None = None) -> int:
        """Start an attempt with every name that belongs to us; return how many began.

        A name that could not be connected with lately takes nobody's place: perhaps it never can.
        """
        core = self.core
        if core.name is None:
            return 0
        own = core.name
        rests, table = core.attempts.rests, core.table
        strangers = [n for n in names if n != own and n not in table and not rests(n)]
        if not strangers:
            return 0
        group = nearest(own, [*core.table.close_group(), *strangers], GROUP_SIZE)
        pending = self.pending()
        started = 0
        for name in nearest(own, strangers, len(strangers)):
            bucket = bucket_index(own, name)
            held = core.table.bucket_size(bucket) + pending.get(bucket, 0)
            if name not in group and held >= core.limits.bucket_low:
                continue
            if core.connecting.start(name, teller=teller, via=via):
                pending[bucket] = pending.get(bucket, 0) + 1
                started += 1
        return started

    def pending(self, besides: bytes = b"") -> dict[int, int]:
        """Return how many attempts are under way by bucket, one with the name `besides` apart."""
        core = self.core
        pending: dict[int, int] = {}
        for attempt in core.attempts.live():
            # One that had to be sent again may be to a dead name and holds no place.
            if attempt.name != besides and (attempt.expected or attempt.sendings <= 1):
                bucket = bucket_index(core.table.own, attempt.name)
                pending[bucket] = pending.get(bucket, 0) + 1
        return pending

    def farther_buckets(self) -> range:
        """Return the buckets farther than our 8th nearest; none while we hold fewer than 8."""
        core = self.core
        group = core.table.close_group()
        if core.name is None or len(group) < GROUP_SIZE:
            return range(0)
        return range(bucket_index(core.name, group[-1]))

    # -- asking

    def find(self, target: bytes, *, via: Link | None = None, hop: bytes = b"") -> None:
        """Ask who is nearest to `target`; three times, through other first hops."""
        core = self.core
        if target in self.finds or len(self.finds) >= FINDS_MAX or core.name is None:
            return
        via = core.relay.way_out(via)
        self.finds[target] = Find(target, 0 if via is None else via.token, hop)
        self._ask(self.finds[target])

    def _ask(self, find: Find) -> None:
        core = self.core
        assert core.name is not None
        via = core.relay.way_out(core.links.get(find.via))
        ways = core.table.group(find.target, including_self=False)
        reply_to: Address
        hop = b""
        if via is not None:
            reply_to = ClientAddress(via.name, core.key)
        elif ways:
            chosen = find.tries == 0 and find.hop in core.table
            hop = find.hop if chosen else ways[find.tries % len(ways)]
            reply_to = ViaAddress(hop, core.name)
        else:
            self._give_up(find)
            return
        find.tries += 1
        body = encode(FindGroup(find.target, reply_to))
        core.count("find.asked")
        core.relay.send(
            MessageKind.FIND_GROUP,
            GroupAddress(find.target),
            body,
            via=via,
            hop=hop,
            route=(find.tries - 1) % ROUTES_MAX,
            leave_out=core.name,
        )
        core.alarm("find", find.target, core.limits.find_retry_ns)

    def on_find_retry(self, target: bytes) -> None:
        """Alarm: no answer; ask again, through the next best first hop."""
        find = self.finds.get(target)
        if find is None:
            return
        if find.tries < self.core.limits.find_tries and self.core.name is not None:
            self._ask(find)
        else:
            self._give_up(find)

    def _give_up(self, find: Find) -> None:
        core = self.core
        self.finds.pop(find.target, None)
        core.count("find.unanswered")
        core.filling.on_unanswered(find.target)
        if find.target == core.name:
            core.feelers.on_unanswered(find.via)
            self._weigh_join()

    def on_find(self, arrival: Arrival) -> None:
        """We know none nearer to the target: name the nearest we hold."""
        core = self.core
        find = decode(FindGroup, arrival.signed.body)
        if find is None or not self._may_ask(find, arrival):
            core.count("find.malformed")
            return
        if core.name is None or not (len(core.table) or core.founding.founder):
            return
        names = [name for name in core.table.names() if name != arrival.signed.leave_out]
        listed = nearest(find.target, [core.name, *names], core.limits.group_list_max)
        if core.name not in listed:
            listed = [*listed[:-1], core.name]
        body = encode(GroupIs(find.target, listed))
        core.relay.send(MessageKind.GROUP_IS, find.reply_to, body)

    def _may_ask(self, find: FindGroup, arrival: Arrival) -> bool:
        """Whoever has a name asks to be left out himself, and nobody else."""
        signed = arrival.signed
        if isinstance(signed.source, NodeAddress) and signed.source.name != signed.leave_out:
            return False
        return is_own_reply_address(find.reply_to, signed)

    def on_group(self, arrival: Arrival) -> None:
        """An answer to a question of ours; unasked ones are counted and forgotten."""
        core = self.core
        answer = decode(GroupIs, arrival.signed.body)
        source = arrival.signed.source
        if (
            answer is not None
            and isinstance(source, NodeAddress)
            and core.groups.on_group(source.name, arrival.signed.key, answer.target, answer.names)
        ):
            return
        if answer is not None and core.vouching.on_group(arrival, answer):
            return
        find = None if answer is None else self.finds.get(answer.target)
        if answer is None or find is None or not isinstance(source, NodeAddress):
            core.count("group.unasked")
            return
        del self.finds[find.target]
        core.alarms.cancel(("find", find.target))
        via = core.links.get(find.via)
        if core.feelers.is_feeler(find.via):
            core.feelers.on_group(answer.names, source.name)
            return
        self.consider(answer.names, source.name, via=via)
        core.filling.on_group(find.target, answer.names, source.name)
        if find.target == core.name:
            self._weigh_join()

    # -- (a) join

    def join(self) -> None:
        """We have a name: find our close group and connect with it."""
        core = self.core
        assert core.name is not None
        self.joining = True
        core.alarm("joining", b"", core.limits.join_proxy_ns)
        self.find(core.name)

    def on_attempt_ended(self) -> None:
        """An attempt of ours has ended, either way."""
        self._weigh_join()

    def _weigh_join(self) -> None:
        """Decide the join once the question is answered and every attempt has ended."""
        core = self.core
        if not self.joining or core.name in self.finds or core.attempts.requested_count():
            return
        if not len(core.table):
            if ("rejoin", b"") not in core.alarms:
                core.alarm("rejoin", b"", 2 * core.limits.find_retry_ns)
            return
        self.joining = False
        core.alarms.cancel(("joining", b""))
        core.alarms.cancel(("rejoin", b""))
        core.count("joined")
        core.bootstrapping.let_go(CloseCode.JOINED)
        self._fill_buckets()
        core.feelers.on_joined()

    def on_rejoin(self, _subject: bytes) -> None:
        """Alarm: nobody of the group could be connected with; ask once more."""
        if self.joining and self.core.name is not None:
            self.find(self.core.name)

    def on_join_timeout(self, _subject: bytes) -> None:
        """Alarm: the proxy is let go; without one connection we start again elsewhere."""
        core = self.core
        self.joining = False
        core.alarms.cancel(("rejoin", b""))
        if len(core.table):
            core.bootstrapping.let_go(CloseCode.JOINED)
            self._fill_buckets()
            core.feelers.on_joined()
        elif not core.founding.founder:
            core.bootstrapping.give_up_proxy("nobody of the close group could be connected with")

    def _fill_buckets(self) -> None:
        """Ask for every bucket farther than the close group that holds too few."""
        core = self.core
        for bucket in self.farther_buckets():
            if core.table.bucket_size(bucket) < core.limits.bucket_low:
                self._find_bucket(bucket)

    def _find_bucket(self, bucket: int) -> None:
        core = self.core
        assert core.name is not None
        idle = core.dice.around(core.limits.bucket_idle_ns, 50)
        self.bucket_due[bucket] = core.now + idle
        self.find(flip_bit(core.name, bucket, core.dice.bytes(32)))

    # -- (b) repair

    def on_connected(self) -> None:
        """The first routing connection: repair and refresh begin."""
        core = self.core
        core.bootstrapping.on_connected()
        core.registrar.on_connected()
        core.alarm("repair", b"", core.dice.around(core.limits.repair_interval_ns, 50))
        core.alarm("refresh", b"", core.dice.around(core.limits.refresh_interval_ns, 50))

    def on_peer_up(self, name: bytes) -> None:
        """A peer has come: it has no list of ours yet."""
        self.sent.pop(name, None)
        self.lists.pop(name, None)
        self.core.groups.on_table_changed()

    def on_peer_down(self, name: bytes) -> None:
        """A peer has gone, and its list with it."""
        self.sent.pop(name, None)
        self.lists.pop(name, None)
        self.core.groups.on_table_changed()

    def on_close_group_changed(self) -> None:
        """Gather changes for half a second before telling the neighbours."""
        core = self.core
        core.filling.on_close_group_changed()
        if ("gather", b"") not in core.alarms and not core.stopped:
            core.alarm("gather", b"", core.limits.repair_gather_ns)

    def on_gather(self, _subject: bytes) -> None:
        """Alarm: our close group has changed; tell it, and weigh what the others told us."""
        core = self.core
        for teller in core.table.names():
            listed = self.lists.get(teller)
            if listed:
                self.consider(listed, teller)
        self._send_lists()
        core.registrar.on_gather()

    def on_repair(self, _subject: bytes) -> None:
        """Alarm: the regular round of lists, and of buckets that hold too few or are idle."""
        core = self.core
        if core.detail < Detail.CONNECTED:
            return
        core.alarm("repair", b"", core.dice.around(core.limits.repair_interval_ns, 50))
        self._send_lists()
        self._fill_buckets()
        for bucket in self.farther_buckets():
            if core.now >= self.bucket_due.get(bucket, 0):
                self._find_bucket(bucket)
        core.letting_go.on_tick()
        core.filling.on_tick()
        core.registrar.on_gather()

    def _send_lists(self) -> None:
        """Send our list, or its digest if unchanged, to every member of our close group."""
        core = self.core
        if core.name is None:
            return
        names = [core.name, *core.table.names()[: core.limits.group_list_max - 1]]
        digest = _digest(names)
        for name in core.table.close_group():
            unchanged = self.sent.get(name) == digest
            self.sent[name] = digest
            record = Neighbours(core.name, digest, [] if unchanged else names)
            core.send(core.link_to(name), FrameKind.NEIGHBOURS, record)

    def on_neighbours(self, link: Link, told: Neighbours) -> None:
        """A neighbour's own list, or its answer to ours."""
        core = self.core
        if told.target == core.name:
            self.consider(told.names, link.name)
            return
        if told.target != link.name:
            core.frames.malformed(link, "a list of somebody else")
            return
        if told.names:
            self.lists[link.name] = list(told.names)
        listed = self.lists.get(link.name, [])
        if _digest(listed) != told.digest:
            core.count("list.unknown_digest")
            return
        self.consider(listed, link.name)
        if link.name in core.table:
            self._complete(link, listed)

    def _complete(self, link: Link, listed: list[bytes]) -> None:
        """Answer with what we hold of the sender's close group that is not in its list."""
        core = self.core
        held = [name for name in core.table.names() if name != link.name]
        known = [name for name in listed if name != link.name]
        group = nearest(link.name, list(dict.fromkeys([*held, *known])), GROUP_SIZE)
        if any(name not in known for name in group):
            names = nearest(link.name, held, core.limits.group_list_max)
            record = Neighbours(link.name, _digest(names), names)
            core.send(link, FrameKind.NEIGHBOURS, record)

    # -- (c) refresh

    def on_refresh(self, _subject: bytes) -> None:
        """Alarm: ask for our own name through a random entry; it may know another corner."""
        core = self.core
        if core.detail < Detail.CONNECTED or core.name is None:
            return
        core.alarm("refresh", b"", core.dice.around(core.limits.refresh_interval_ns, 50))
        self.find(core.name, hop=core.dice.choice(core.table.names()))

    def on_disconnected(self) -> None:
        """We have no network: nothing we knew of it counts."""
        core = self.core
        self.joining = False
        for target in self.finds:
            core.alarms.cancel(("find", target))
        for kind in ("joining", "rejoin", "gather", "repair", "refresh"):
            core.alarms.cancel((kind, b""))
        self.finds.clear()
        self.lists.clear()
        self.sent.clear()
        self.bucket_due.clear()


def _digest(names: list[bytes]) -> bytes:
    return blake2b(b"".join(names), digest_size=8).digest()
