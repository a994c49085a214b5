from typing import Final, final

from routing.events import Proof
from routing.messages import Address, Authority

__all__ = ["Message"]

@final
class Message:
    __match_args__: Final = (
        "source",
        "destination",
        "payload",
        "key",
        "proof",
        "id",
        "request",
        "token",
        "authority",
    )
    def __init__(
        self,
        source: Address,
        destination: Address,
        payload: bytes,
        key: bytes,
        proof: Proof,
        id: bytes,
        request: bool,
        token: bytes = ...,
        authority: Authority | None = ...,
    ) -> None: ...
    @property
    def source(self) -> Address: ...
    @property
    def destination(self) -> Address: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def key(self) -> bytes: ...
    @property
    def proof(self) -> Proof: ...
    @property
    def id(self) -> bytes: ...
    @property
    def request(self) -> bool: ...
    @property
    def token(self) -> bytes: ...
    @property
    def authority(self) -> Authority | None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
