"""Which concern hears which alarm and consumes which message; the one place where it is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from routing.messages import MessageKind

if TYPE_CHECKING:
    from routing.core import Core
    from routing.links import Arrival

__all__ = ["alarm_handlers", "message_handlers"]


def alarm_handlers(core: Core) -> dict[str, Callable[[bytes], None]]:
    """Return the name of every alarm with who hears it; the subject is its argument."""
    return {
        "dial": core.dials.on_stagger,
        "resend": core.connecting.on_resend,
        "primary": core.connecting.on_primary_timeout,
        "secondary": core.connecting.on_secondary_timeout,
        "probe": core.probing.on_timeout,
        "round": core.bootstrapping.on_round_due,
        "stagger": core.bootstrapping.on_stagger,
        "admit": core.bootstrapping.on_admit_timeout,
        "name": core.naming.on_retry,
        "nameless": core.naming.on_timeout,
        "register": core.registrar.on_due,
        "vouch": core.vouching.on_due,
        "joining": core.membership.on_join_timeout,
        "rejoin": core.membership.on_rejoin,
        "find": core.membership.on_find_retry,
        "gather": core.membership.on_gather,
        "repair": core.membership.on_repair,
        "refresh": core.membership.on_refresh,
        "unneeded": core.letting_go.on_timeout,
        "churn": core.churning.on_due,
        "contacts": core.proxying.on_contacts_due,
        "relay": core.proxying.on_relay_timeout,
        "reach": core.reachability.on_timeout,
        "held": core.moving.on_held_due,
        "doubt": core.moving.on_doubt_due,
        "proxy": core.moving.on_proxy_silent,
        "feel": core.feelers.on_due,
        "felt": core.feelers.on_timeout,
        "news": core.feelers.on_news,
        "request": core.messaging.on_timeout,
        "retry": core.delivery.on_retry,
        "owed": core.owing.on_due,
        "bundle": core.owing.on_bundle_due,
        "receipt": core.receipts.on_broken,
        "confirm": core.receipts.on_confirm_due,
        "batches": core.batching.on_again,
        "parts": core.parts.on_due,
        "assembly": core.assembly.on_expired,
        "suspect": core.suspects.on_timeout,
        "group": core.groups.on_timeout,
        "ballots": core.ballots.on_tick,
    }


def message_handlers(core: Core) -> dict[MessageKind, Callable[[Arrival], None]]:
    """Return every kind of routed message with who takes one that has been verified."""
    return {
        MessageKind.CONNECT_REQUEST: core.connecting.responding.on_request,
        MessageKind.CONNECT_RESPONSE: core.connecting.on_response,
        MessageKind.CONNECT_REFUSED: core.connecting.on_refused,
        MessageKind.REQUEST_NAME: core.naming.on_request,
        MessageKind.NAME_VOTE: core.naming.on_vote,
        MessageKind.FIND_GROUP: core.membership.on_find,
        MessageKind.GROUP_IS: core.membership.on_group,
        MessageKind.COPY: core.groups.on_copy,
        MessageKind.REGISTER: core.registrar.on_register,
        MessageKind.RECORDS: core.registrar.on_records,
        MessageKind.VOUCH: core.registrar.on_vouch,
        MessageKind.VOUCHED: core.vouching.on_vouched,
        MessageKind.UNROUTABLE: core.messaging.on_unroutable,
        MessageKind.ACKNOWLEDGED: core.delivery.on_acknowledged,
        MessageKind.BUSY: core.delivery.on_busy,
        MessageKind.MOVED: core.moving.on_moved,
        MessageKind.FORWARDED: core.moving.on_forwarded,
        MessageKind.PART: core.assembly.on_part,
        MessageKind.MESSAGE: core.messaging.on_routed,
        MessageKind.MESSAGES: core.lists.on_list,
        MessageKind.REQUEST: core.messaging.on_routed,
        MessageKind.REPLY: core.messaging.on_routed,
        MessageKind.BALLOT: core.ballots.on_ballot,
        MessageKind.WHOLE_WANTED: core.casting.on_wanted,
    }
