from collections.abc import Callable
from typing import Any, final

from typing_extensions import disjoint_base

from routing._blocks import Block

__all__ = ["Tape"]

@final
@disjoint_base
class Tape:
    deaf: bool
    steps: int
    due: int
    def __new__(
        cls,
        # Any: what the fields of a fact hold differs.
        kinds: dict[type[Any], tuple[int, tuple[str, ...]]],
        structs: dict[type[Any], tuple[int, tuple[str, ...]]],
        encode: Callable[[Any], bytes],
        *,
        frame: type[Any],
        batch: object,
        many: type[Any],
        full: int = ...,
    ) -> Tape: ...
    def attach(
        self,
        *,
        handle: Callable[[Any, Any], None],
        on_deadline: Callable[[Any], None],
        after: Callable[[], None],
        fallen: Callable[[], None],
    ) -> None: ...
    def handle(self, fact: object, now: int) -> None: ...
    def on_deadline(self, now: int) -> None: ...
    def leaves_in_batches(self) -> None: ...
    def heard(self, token: int, now: int) -> None: ...
    def passed(self, token: int, now: int) -> None: ...
    def drawn(self, value: bytes) -> None: ...
    def signed(self, signature: bytes) -> None: ...
    def repeat(self, digest: bytes) -> None: ...
    def __len__(self) -> int: ...
    def add(self, tag: int, content: object) -> None: ...
    def take(self) -> Block: ...
