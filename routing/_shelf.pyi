from typing_extensions import disjoint_base

__all__ = ["Shelf"]

@disjoint_base
class Shelf:
    def __new__(cls, *args: object, **kwargs: object) -> Shelf: ...
