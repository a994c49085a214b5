"""Who comes while a name is being renewed is told of it all the same."""

from __future__ import annotations

from routing.limits import MILLISECOND, SECOND
from tests.asked import PEER
from tests.unit.test_registrar import handed, member, of_rank, recorded, register

__all__: list[str] = []


def test_renewal_does_not_make_us_forget_that_a_newcomer_is_to_be_told() -> None:
    """Whom a registration reached is not known: of 20 nodes (seed 15) one was left out."""
    stage, wire = member()
    subject = of_rank(stage, 0)
    register(wire, subject)
    stage.wait(90 * SECOND)
    newcomer = stage.befriend(PEER)
    renewed = recorded(stage, subject).at
    stage.wait(MILLISECOND)
    said = register(wire, subject)
    assert recorded(stage, subject).at > renewed and handed(said, newcomer) == []
    (told,) = handed(stage.wait(SECOND), newcomer)
    assert [record.key for record in told] == [subject.key]
    assert handed(stage.wait(60 * SECOND), newcomer) == []
