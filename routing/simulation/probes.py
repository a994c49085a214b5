"""Rare paths that a long run must take: a run that never reached them has not tested them.

Each is the name of a counter of the cores, which count what they do and refuse anyway. The list
holds what is rare in a quiet network and is reached by the scenarios of the package; what only an
attacker can do is left to the tests of attackers.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PROBES", "why_not_reached"]

PROBES: tuple[str, ...] = ()


def why_not_reached(counters: Mapping[str, int]) -> list[str]:
    """Return a line that names the probes nobody reached; none if there are none of these."""
    missing = [name for name in PROBES if not counters.get(name)]
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(PROBES)} probes not reached: {', '.join(missing)}; give more seeds"
    ]
