"""What every test shares: reproducible hypothesis profiles; no fixture that hides a clock."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

from routing import _filter

__all__: list[str] = []

# Examples are derived from the test itself, so a run on one machine says what it says on another.
settings.register_profile(
    "default",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# For a long search on purpose: HYPOTHESIS_PROFILE=search make test TEST_ARGS=tests/property
settings.register_profile(
    "search", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

if os.environ.get("ROUTING_EXPECT_SANITIZED") and _filter.__file__ is not None:
    # Otherwise a wrong path would run the ordinary rooms and call them clean.
    assert b"__asan_" in Path(_filter.__file__).read_bytes(), f"{_filter.__file__} is not sanitized"
