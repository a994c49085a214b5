"""`simulate attack`: an attacker against two real cores, every move of his within a budget."""

from __future__ import annotations

import click

from routing.simulation.attack import SCENES, STATES_MAX
from routing.simulation.attack_command import attack_command
from routing.simulation.weakened import WEAKENED

__all__ = ["attack"]


@click.command()
@click.option(
    "--scene",
    "scenes",
    type=click.Choice(SCENES),
    multiple=True,
    help="What the two cores are about; all of them if not given.",
)
@click.option("--moves", type=click.IntRange(0), help="Of the attacker; by scene if not given.")
@click.option("--sniff", is_flag=True, help="He reads every frame between the two.")
@click.option("--claimed", is_flag=True, help="The channel takes each end's word for its key.")
@click.option("--relaxed", is_flag=True, help="All do with one way where the other is not had.")
@click.option("--waits", is_flag=True, help="He may let time pass; many more states.")
@click.option(
    "--broken",
    type=click.Choice(sorted(WEAKENED)),
    default=None,
    help="Take this lock off, in a setting where it shows; found is then a success.",
)
@click.option("--states", type=click.IntRange(1), default=STATES_MAX, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def attack(
    scenes: tuple[str, ...],
    moves: int | None,
    sniff: bool,
    claimed: bool,
    relaxed: bool,
    waits: bool,
    broken: str | None,
    states: int,
    as_json: bool,
) -> int:
    """Let an attacker do his worst to two cores; nobody may route to another than he believes."""
    if broken and (scenes or sniff or claimed or relaxed or waits):
        raise click.UsageError(
            f"--broken {broken} brings its own scene and strength; give it --moves only"
        )
    return attack_command(
        scenes=scenes or SCENES,
        moves=moves,
        broken=broken or "",
        sniff=sniff,
        claimed=claimed,
        relaxed=relaxed,
        waits=waits,
        states_max=states,
        json=as_json,
    )
