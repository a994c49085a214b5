"""The host that drives one core over real sockets; it acts, and decides nothing.

`Host(core, ...)` binds the listening sockets, turns what happens on them into Inputs, executes the
core's Actions in order, and keeps one wake-up timer. The public doors (`routing.node`) use exactly
this of it:

    host = Host(core, config: HostConfig,
                on_event=..., on_message=..., on_answered=..., on_failed=..., on_certificate=...)
    await host.start()            binds (ListenError), then Listening and BootstrapRequested
    host.submit(fact)             an Input from the application (Submitted, ContactsLearnt)
    host.now()                    nanoseconds since start
    host.endpoints                ["ip:port", ...] bound
    host.stats() -> dict[str, int]
    host.pause_reading(), host.resume_reading()    while the application is behind
    await host.stop(drain: float) StopRequested, bounded drain, everything closed

`HostConfig` is frozen: listen (tuple of "ip:port", empty for clients), advertise (or None), tag,
identity (Identity), limits. The callbacks take one `Event`, one `Message`, (reference, payload),
(reference, reason) and an encoded certificate; they are called on the loop and must not block.
"""

from __future__ import annotations

from routing.service.host import Host
from routing.service.host_config import HostConfig

__all__ = ["Host", "HostConfig"]
