"""The meter counts as its twin does, and its times only grow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from routing._meter import Meter
from tests.twin import meter_twin

__all__: list[str] = []

COUNTS = ("records_read", "records_written", "frames_read", "frames_written")
STEPS = st.tuples(st.sampled_from(["sealed", "gave", "opened", "took"]), st.integers(0, 2**40))


@given(st.lists(STEPS, max_size=50))
def test_meter_is_its_twin(steps: list[tuple[str, int]]) -> None:
    ours, twin = Meter(), meter_twin.Meter()
    before = (0, 0)
    for what, count in steps:
        ours.start()
        for each in (ours, twin):
            given_counts = () if what == "opened" else (count,)
            getattr(each, what)(*given_counts)
        assert [getattr(ours, name) for name in COUNTS] == [getattr(twin, name) for name in COUNTS]
        now = (ours.open_ns, ours.seal_ns)
        assert now >= before and now[what == "opened"] == before[what == "opened"]
        before = now
