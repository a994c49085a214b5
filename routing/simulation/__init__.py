"""Any number of real cores on one virtual clock."""

from __future__ import annotations

__all__: list[str] = []
