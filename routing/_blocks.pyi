from typing import final

from typing_extensions import disjoint_base

__all__ = ["Block"]

@final
@disjoint_base
class Pool:
    def __new__(cls, room_most: int) -> Pool: ...

@final
@disjoint_base
class Block:
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def seal(self, checksum: int) -> None: ...
