"""`simulate explore`: every order in which two real cores can connect, with faults anywhere."""

from __future__ import annotations

import click

from routing.simulation.broken_pairs import BROKEN
from routing.simulation.explore import SCENES, STATES_MAX
from routing.simulation.explore_command import explore_command

__all__ = ["explore"]

_COUNT = click.IntRange(0)


@click.command()
@click.option(
    "--scenario",
    "scenes",
    type=click.Choice(list(SCENES)),
    multiple=True,
    help="Who asks and what may happen; all of them if not given.",
)
@click.option("--losses", type=_COUNT, help="Routed messages lost; by scenario if not given.")
@click.option("--duplicates", type=_COUNT, help="Routed messages that come twice.")
@click.option("--failed-dials", type=_COUNT, help="Dials that come to nothing.")
@click.option("--expiries", type=_COUNT, help="Deadlines that fire early.")
@click.option("--crashes", type=_COUNT, help="Silent crashes, each with a new start.")
@click.option("--breaks", type=_COUNT, help="Connections that break.")
@click.option(
    "--broken",
    type=click.Choice(sorted(BROKEN)),
    default=None,
    help="Take this rule off, in a setting where it shows; found is then a success.",
)
@click.option("--states-max", type=click.IntRange(1), default=STATES_MAX, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explore(
    scenes: tuple[str, ...],
    losses: int | None,
    duplicates: int | None,
    failed_dials: int | None,
    expiries: int | None,
    crashes: int | None,
    breaks: int | None,
    broken: str | None,
    states_max: int,
    jobs: int,
    as_json: bool,
) -> int:
    """Let two cores connect in every order; they must agree, and connect if nothing fails."""
    faults = {
        "losses": losses,
        "duplicates": duplicates,
        "failed_dials": failed_dials,
        "expiries": expiries,
        "crashes": crashes,
        "breaks": breaks,
    }
    if broken and (scenes or any(count is not None for count in faults.values())):
        raise click.UsageError(
            f"--broken {broken} brings its own scenario and faults; give it --states-max only"
        )
    return explore_command(
        scenes=scenes or tuple(SCENES),
        faults=faults,
        broken=broken or "",
        states_max=states_max,
        jobs=jobs,
        json=as_json,
    )
