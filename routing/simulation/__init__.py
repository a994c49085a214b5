"""Any number of real cores on one virtual clock, with everything that may go wrong between them.

The same seed gives the same trace under any `PYTHONHASHSEED` and on any machine. A scenario is a
file (`load`, `library`, `parse`, `write`); one scenario with one seed is a `Trial`, and what comes
of it an `Outcome`; `drive` runs many over any `concurrent.futures.Executor` and `shrink` makes a
failing one small. `World` is underneath, for programs that do harm of their own. See
docs/simulation.md.
"""

from __future__ import annotations

from routing.simulation.campaign import WorkerLost, outcomes, processes
from routing.simulation.healing import healing_bound, healing_terms
from routing.simulation.hosts import Host, Violation
from routing.simulation.links import Weather
from routing.simulation.probes import PROBES
from routing.simulation.script import Script
from routing.simulation.scriptfile import library, load, parse, write
from routing.simulation.shrinking import Shrunk, shrink
from routing.simulation.sitting import Demands, Sitting, drive
from routing.simulation.tally import Tally
from routing.simulation.trial import Outcome, Trial, run_trial
from routing.simulation.world import World

__all__ = [
    "PROBES",
    "Demands",
    "Host",
    "Outcome",
    "Script",
    "Shrunk",
    "Sitting",
    "Tally",
    "Trial",
    "Violation",
    "Weather",
    "WorkerLost",
    "World",
    "drive",
    "healing_bound",
    "healing_terms",
    "library",
    "load",
    "outcomes",
    "parse",
    "processes",
    "run_trial",
    "shrink",
    "write",
]
