"""The contact book: endpoints worth a bootstrap dial, and how each has behaved.

Pure data. It dials nothing and touches no file; `service/bookfile.py` keeps it on disk. What
strangers tell is bounded per network and in all, and never displaces what has proved itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

from routing.endpoints import Endpoint, in_networks, parse, source_group
from routing.errors import BookError, UsageError
from routing.limits import SECOND

__all__ = ["BOOK_BYTES_MAX", "CAPACITY_MAX", "ContactBook"]

BOOK_BYTES_MAX: Final = 1_048_576
"""The largest file that is read; a full book of 10,000 has 0.8 MiB."""

CAPACITY_MAX: Final = 10_000
"""The largest book that is sure to fit into `BOOK_BYTES_MAX`."""

_ANCHORS: Final = 2
"""The last good contacts: one may be gone when we come back, both seldom are."""

_FAILURES_TO_FORGET: Final = 8
"""Failures in a row after which a contact that never answered is forgotten, and one that did is
weighed like a stranger: with the back-off that is about six minutes of trying."""

_FAILURES_MAX: Final = 1_000_000
"""Where the count of failures stops."""

_SELVES_MAX: Final = 256
"""Endpoints known to be ourselves; a node has a handful, the rest is room for old ones."""

_EXEMPT: Final = ("127.0.0.0/8", "::1/128")

_MAGIC: Final = b"routing book "
_VERSION: Final = b"1"

_Row: TypeAlias = tuple[str, bool, int]
"""A contact in the file: endpoint, has it ever been good, failures in a row."""


_StateRow: TypeAlias = tuple[str, str, int, int, int, int, bool]

_states: Final = msgspec.msgpack.Decoder(tuple[list[_StateRow], list[str], list[str], int, int])


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    anchors: list[str]
    """Last good first."""
    contacts: list[_Row]
    """Those once good come in the order in which they last were, the rest in that of learning."""


@dataclass(slots=True)
class _Contact:
    endpoint: Endpoint
    group: str
    """The network it counts for, empty if exempt."""
    learnt: int
    """Rises with every contact entered."""
    proved: int = 0
    """Rises with every proof; 0 if it was never good."""
    failures: int = 0
    retry_at: int = 0
    configured: bool = False

    @property
    def solid(self) -> bool:
        """Whether it was good and has not failed for long."""
        return self.proved > 0 and self.failures < _FAILURES_TO_FORGET


class ContactBook:
    """Contacts and their standing, for one node.

    Args:
        capacity: Contacts kept beside the configured ones.
        per_group: Contacts that never proved themselves kept of one source group.
        exempt: Networks free of `per_group`.
        backoff_first: Nanoseconds before a contact that failed once is tried again; doubles.
        backoff_last: The longest such pause.

    Raises:
        UsageError: an argument is out of its bounds.
    """

    __slots__ = (
        "_anchors",
        "_backoff_first",
        "_backoff_last",
        "_capacity",
        "_contacts",
        "_exempt",
        "_groups",
        "_kept",
        "_learnt",
        "_per_group",
        "_proved",
        "_selves",
        "counters",
    )

    def __init__(
        self,
        capacity: int = 1_500,
        per_group: int = 4,
        *,
        exempt: Sequence[str] = _EXEMPT,
        backoff_first: int = 5 * SECOND,
        backoff_last: int = 60 * SECOND,
    ) -> None:
        if not _ANCHORS < capacity <= CAPACITY_MAX:
            raise UsageError(f"book capacity {capacity} must be 3 to {CAPACITY_MAX}")
        if per_group <= 0:
            raise UsageError(f"book per_group={per_group} must be positive")
        if not 0 < backoff_first <= backoff_last:
            raise UsageError(
                f"book backoff_first={backoff_first} must be positive and at most {backoff_last}"
            )
        self._capacity = capacity
        self._per_group = per_group
        self._exempt = tuple(exempt)
        self._backoff_first = backoff_first
        self._backoff_last = backoff_last
        self._contacts: dict[Endpoint, _Contact] = {}
        self._groups: dict[str, int] = {}
        self._kept = 0
        self._anchors: list[Endpoint] = []
        self._selves: dict[Endpoint, None] = {}
        self._learnt = 0
        self._proved = 0
        self.counters: dict[str, int] = {}
        """What was refused or let go, by reason."""

    def __len__(self) -> int:
        """Return how many contacts there are, configured ones included."""
        return len(self._contacts)

    def __contains__(self, endpoint: object) -> bool:
        return endpoint in self._contacts

    def configure(self, endpoint: Endpoint) -> None:
        """Take in a contact that the user named: it is never evicted and never forgotten.

        One that is known to be ourselves is ignored.

        Raises:
            UsageError: more contacts are configured than the capacity of the book.
        """
        contact = self._contacts.get(endpoint)
        if endpoint in self._selves or (contact is not None and contact.configured):
            return
        if len(self._contacts) - self._kept >= self._capacity:
            raise UsageError(
                f"contact {endpoint} exceeds the {self._capacity} that can be configured"
            )
        if contact is None:
            contact = self._enter(endpoint, source_group(endpoint.host))
        self._count_out(contact)
        contact.configured = True

    def learn(self, endpoint: Endpoint, group: str | None = None) -> bool:
        """Note an endpoint that somebody told us of; tell whether it is in the book now.

        It is refused, and counted, if it is ourselves, if its source group has its share, or if
        the book is full of better ones.

        Args:
            endpoint: Where the contact is said to listen.
            group: The source group it counts for; that of its address unless given.
        """
        if endpoint in self._contacts:
            return True
        if endpoint in self._selves:
            return self._refuse("self")
        group = source_group(endpoint.host) if group is None else group
        if self._is_limited(endpoint) and self._groups.get(group, 0) >= self._per_group:
            worst = self._worst(group)
            if worst is None or not worst.failures:
                return self._refuse("group_full")
            self._evict(worst)
        elif self._kept >= self._capacity:
            worst = self._worst()
            if worst is None or not self._displaces(group, worst):
                return self._refuse("book_full")
            self._evict(worst)
        self._enter(endpoint, group)
        return True

    def proved(self, endpoint: Endpoint, now: int) -> None:
        """Note that a contact was good: it becomes an anchor and its failures are forgiven."""
        if endpoint in self._selves:
            return
        contact = self._contacts.get(endpoint)
        if contact is None:
            if self._kept >= self._capacity:
                self._evict(self._worst() or self._stalest())
            contact = self._enter(endpoint, source_group(endpoint.host))
        self._proved += 1
        self._release(contact)
        contact.proved = self._proved
        contact.failures = 0
        contact.retry_at = now
        self._anchors = [endpoint, *(each for each in self._anchors if each != endpoint)]
        del self._anchors[_ANCHORS:]

    def failed(self, endpoint: Endpoint, now: int) -> None:
        """Note that a contact was no good: it rests 5 s, 10 s … 60 s before it is tried again.

        An endpoint that is not in the book is ignored: there is nothing to put off.
        """
        contact = self._contacts.get(endpoint)
        if contact is None:
            return
        contact.failures = min(contact.failures + 1, _FAILURES_MAX)
        # The exponent is bounded, or a contact dead for weeks would cost a number of its own size.
        pause = self._backoff_first << min(contact.failures - 1, 64)
        contact.retry_at = now + min(pause, self._backoff_last)
        hopeless = contact.failures >= _FAILURES_TO_FORGET and not contact.proved
        if hopeless and not contact.configured:
            self._evict(contact)

    def disappointed(self, endpoint: Endpoint, now: int) -> None:
        """Note that a contact let us in and was no good after all: it was never proved.

        It rests as one that failed, and comes behind those of its kind that have not.
        """
        if endpoint in self._anchors:
            self._anchors.remove(endpoint)
        contact = self._contacts.get(endpoint)
        if contact is not None:
            contact.proved = 0
        self.failed(endpoint, now)

    def mark_self(self, endpoint: Endpoint) -> None:
        """Drop an endpoint that turned out to be ourselves, for as long as this book lives.

        It is not kept in the file: tomorrow somebody else may listen there.
        """
        contact = self._contacts.get(endpoint)
        if contact is not None:
            self._drop(contact)
        self._selves.pop(endpoint, None)
        self._selves[endpoint] = None
        if len(self._selves) > _SELVES_MAX:
            self._selves.pop(next(iter(self._selves)))

    def anchors(self) -> list[Endpoint]:
        """Return the last two contacts that were good, the latest first."""
        return list(self._anchors)

    def candidates(self, now: int) -> list[Endpoint]:
        """Return the contacts that may be tried now, best first.

        Anchors; then the book: those that were good, latest first, then those never tried, then
        those that failed, fewest failures first; then the configured ones that were never good.
        """
        return [each.endpoint for each in self._ranked() if each.retry_at <= now]

    def all_contacts(self) -> list[Endpoint]:
        """Return every contact in the order of `candidates`, those that rest included."""
        return [each.endpoint for each in self._ranked()]

    def next_ready(self, now: int) -> int | None:
        """Return when the next contact may be tried, `now` if one may already, None if none is."""
        if not self._contacts:
            return None
        return max(now, min(each.retry_at for each in self._contacts.values()))

    def encode(self) -> bytes:
        """Return the content of a book file: a line with version and checksum, then JSON.

        Configured contacts that were never good are left out: the configuration has them.
        """
        kept = [each for each in self._contacts.values() if each.proved or not each.configured]
        kept.sort(key=lambda each: (-each.proved, each.learnt))
        # Solid ones alone may exceed the capacity when many are configured too.
        rows = [(str(each.endpoint), each.proved > 0, each.failures) for each in kept]
        content = _File([str(each) for each in self._anchors], rows[: self._capacity])
        body = msgspec.json.format(msgspec.json.encode(content), indent=0)
        checksum = sha256(body).hexdigest().encode("ascii")
        return _MAGIC + _VERSION + b" " + checksum + b"\n" + body

    @classmethod
    def decode(
        cls,
        content: bytes,
        capacity: int = 1_500,
        per_group: int = 4,
        *,
        exempt: Sequence[str] = _EXEMPT,
        backoff_first: int = 5 * SECOND,
        backoff_last: int = 60 * SECOND,
    ) -> ContactBook:
        """Return the book in the content of a file; no contact of it rests.

        Raises:
            BookError: what is wrong with the content, as the end of a sentence.
        """
        file = _open(content)
        book = cls(
            capacity,
            per_group,
            exempt=exempt,
            backoff_first=backoff_first,
            backoff_last=backoff_last,
        )
        try:
            anchors = [parse(text) for text in file.anchors[:_ANCHORS]]
            rows = [
                (parse(text), good, failures) for text, good, failures in file.contacts[:capacity]
            ]
        except UsageError as error:
            raise BookError(f"is damaged: {error}") from None
        # Proofs are counted upwards: the latest comes first in the file and last here.
        for endpoint, good, _ in reversed(rows):
            if good:
                book.proved(endpoint, 0)
        for endpoint, good, _ in rows:
            if not good:
                book.learn(endpoint)
        for endpoint in reversed(anchors):
            book.proved(endpoint, 0)
        for endpoint, _, failures in rows:
            contact = book._contacts.get(endpoint)
            if contact is not None:
                contact.failures = min(max(failures, 0), _FAILURES_MAX)
        return book

    def snapshot(self) -> bytes:
        """Return the whole state in one canonical form: equal states, equal bytes."""
        contacts = sorted(self._contacts.values(), key=lambda each: each.endpoint)
        rows = [
            (
                str(each.endpoint),
                each.group,
                each.learnt,
                each.proved,
                each.failures,
                each.retry_at,
                each.configured,
            )
            for each in contacts
        ]
        anchors = [str(endpoint) for endpoint in self._anchors]
        selves = [str(endpoint) for endpoint in self._selves]
        return msgspec.msgpack.encode((rows, anchors, selves, self._learnt, self._proved))

    def load(self, state: bytes) -> None:
        """Become what `snapshot` returned; capacity and bounds are those of this book."""
        rows, anchors, selves, self._learnt, self._proved = _states.decode(state)
        self._contacts.clear()
        self._groups.clear()
        self._kept = 0
        for text, group, learnt, proved, failures, retry_at, configured in rows:
            endpoint = parse(text)
            contact = _Contact(endpoint, group, learnt, proved, failures, retry_at, configured)
            self._contacts[endpoint] = contact
            self._kept += not configured
            if group:
                self._groups[group] = self._groups.get(group, 0) + 1
        self._anchors = [parse(text) for text in anchors]
        self._selves = {parse(text): None for text in selves}

    # -- order

    def _ranked(self) -> Iterator[_Contact]:
        for endpoint in self._anchors:
            yield self._contacts[endpoint]
        rest = [each for each in self._contacts.values() if each.endpoint not in self._anchors]
        rest.sort(key=_standing)
        yield from rest

    # -- entering and leaving

    def _is_limited(self, endpoint: Endpoint) -> bool:
        return not in_networks(endpoint.host, self._exempt)

    def _enter(self, endpoint: Endpoint, group: str) -> _Contact:
        self._learnt += 1
        contact = _Contact(endpoint, group if self._is_limited(endpoint) else "", self._learnt)
        self._contacts[endpoint] = contact
        self._kept += 1
        if contact.group:
            self._groups[contact.group] = self._groups.get(contact.group, 0) + 1
        return contact

    def _release(self, contact: _Contact) -> None:
        """Free the place of a contact in the share of its group."""
        if not contact.group:
            return
        self._groups[contact.group] -= 1
        if not self._groups[contact.group]:
            del self._groups[contact.group]
        contact.group = ""

    def _count_out(self, contact: _Contact) -> None:
        """Let a contact no longer count for the capacity or for its group."""
        self._release(contact)
        self._kept -= 1

    def _drop(self, contact: _Contact) -> None:
        if contact.configured:
            self._release(contact)
        else:
            self._count_out(contact)
        del self._contacts[contact.endpoint]
        self._anchors = [each for each in self._anchors if each != contact.endpoint]

    def _evict(self, contact: _Contact) -> None:
        self.counters["forgotten"] = self.counters.get("forgotten", 0) + 1
        self._drop(contact)

    def _refuse(self, reason: str) -> bool:
        self.counters[reason] = self.counters.get(reason, 0) + 1
        return False

    def _evictable(self) -> Iterator[_Contact]:
        for contact in self._contacts.values():
            if not contact.configured and contact.endpoint not in self._anchors:
                yield contact

    def _worst(self, group: str | None = None) -> _Contact | None:
        """Return the contact to lose first, of one group or of all; None if all are solid.

        That with the most failures, then one of the largest group, then the one known longest.
        """
        chosen = (
            each
            for each in self._evictable()
            if not each.solid and (group is None or each.group == group)
        )
        return max(
            chosen,
            key=lambda each: (each.failures, self._groups.get(each.group, 0), -each.learnt),
            default=None,
        )

    def _stalest(self) -> _Contact:
        """Return the contact whose last proof is the oldest; the capacity exceeds the anchors."""
        return min(self._evictable(), key=lambda each: each.proved)

    def _displaces(self, group: str, worst: _Contact) -> bool:
        """Tell whether a stranger of this group takes the place of `worst`.

        It does if that one has failed, or if its group is larger by 2 or more.
        """
        larger = self._groups.get(worst.group, 0) - self._groups.get(group, 0)
        return worst.failures > 0 or larger >= 2


def _standing(contact: _Contact) -> tuple[int, int, int, int]:
    """Return the place of a contact in the order of trying, lower first."""
    if contact.configured and not contact.proved:
        place = 3
    elif contact.failures:
        place = 2
    elif contact.proved:
        place = 0
    else:
        place = 1
    return place, contact.failures, -contact.proved, contact.learnt


def _open(content: bytes) -> _File:
    """Return what a book file holds, its size, version and checksum checked.

    Raises:
        BookError: what is wrong with it, as the end of a sentence.
    """
    if len(content) > BOOK_BYTES_MAX:
        raise BookError(f"has {len(content)} bytes, more than {BOOK_BYTES_MAX}")
    header, _, body = content.partition(b"\n")
    if not header.startswith(_MAGIC):
        raise BookError("is no contact book")
    version, _, checksum = header.removeprefix(_MAGIC).partition(b" ")
    if version != _VERSION:
        found = version[:16].decode("ascii", "replace")
        raise BookError(f"has version {found!r}, this is {_VERSION.decode('ascii')!r}")
    if checksum != sha256(body).hexdigest().encode("ascii"):
        raise BookError("is damaged: its checksum does not fit")
    try:
        return msgspec.json.decode(body, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BookError(f"is damaged: {error}") from None
