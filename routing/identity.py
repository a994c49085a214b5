"""Keys, signatures and the identity file.

An `Identity` keeps the secret and signs with it; it never shows the secret in a `repr`, a pickle,
an exception or a copy. It decides nothing about trust. Drawing a fresh key and touching the disk
are done only by the methods a host calls: `generate`, `load`, `save`.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NoReturn, Protocol

from nacl.bindings import crypto_sign, crypto_sign_keypair, crypto_sign_open
from nacl.bindings import crypto_sign_seed_keypair as keypair_of_seed
from nacl.exceptions import BadSignatureError

from routing.errors import IdentityError, UsageError
from routing.names import short
from routing.proofs import Proofs

__all__ = [
    "CERTIFICATE_BYTES_MAX",
    "KEY_BYTES",
    "SEED_BYTES",
    "SIGNATURE_BYTES",
    "Identity",
    "IdentitySigner",
    "Signer",
    "verify",
    "write_private",
]

KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

CERTIFICATE_BYTES_MAX: Final = 4_096
"""A name certificate is at most 1 KiB by the protocol; the file has room for four."""

_FILE_BYTES_MAX: Final = 16_384
"""The longest identity file is below 9 KiB; a larger file is something else."""

_MAGIC: Final = "routing identity"
_VERSION: Final = "1"
_WIDER_THAN_OWNER: Final = 0o077


class Signer(Protocol):
    """What the core needs of a key: to sign with ours and to check anybody's."""

    @property
    def key(self) -> bytes:
        """Our public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return our signature over `message`, 64 bytes."""

    def verify(self, key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` over `message` was made by `key`; never raises."""

    def verify_kept(self, key: bytes, message: bytes, signature: bytes) -> bool:
        """As `verify`, for what is shown again and again: what was good is remembered."""


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` is a strict Ed25519 signature of `key` over `message`.

    Keys and commitments of small order, non-canonical keys and a scalar S outside its range are
    refused: libsodium applies these rules in `crypto_sign_open`. Input of a wrong length or type is
    False, never an exception, because all three arguments may come from a stranger.
    """
    try:
        if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
            return False
        crypto_sign_open(signature + message, key)
    except (BadSignatureError, TypeError):
        return False
    return True


class _Secret:
    """64 bytes of secret key that no `repr`, pickle or formatted frame shows."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key cannot be pickled or copied")


class Identity:
    """An Ed25519 key pair and, beside it, the certificate of a held name.

    Construct with `generate`, `from_seed`, `load` or `load_or_create`.
    """

    __slots__ = ("_certificate", "_key", "_secret")

    _certificate: bytes | None
    _key: bytes
    _secret: _Secret

    def __init__(self) -> None:
        raise UsageError("Identity() holds no key; use Identity.generate, from_seed or load")

    @classmethod
    def generate(cls) -> Identity:
        """Return a fresh identity, its seed drawn from the operating system."""
        return cls._of_pair(*crypto_sign_keypair())

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """Return the identity of a seed of 32 bytes.

        Raises:
            UsageError: the seed has another length; the message does not show it.
        """
        size = len(seed)
        if size != SEED_BYTES:
            del seed
            raise UsageError(f"identity seed of {size} bytes must have exactly {SEED_BYTES}")
        return cls._of_pair(*keypair_of_seed(seed))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Identity:
        """Return the identity kept in a file.

        Raises:
            IdentityError: one line that names the file, what is wrong with it and the cure.
        """
        content = _read(Path(path))
        parsed = _parse(content)
        # A traceback may be printed with the locals of its frames: none may hold the seed.
        del content
        if isinstance(parsed, str):
            raise IdentityError(f"identity file {str(path)!r} {parsed}; restore or remove it")
        return parsed

    @classmethod
    def load_or_create(cls, path: str | os.PathLike[str]) -> Identity:
        """Return the identity kept in a file; make and save a fresh one if there is no file.

        Raises:
            IdentityError: the file is there and unusable, or cannot be written.
        """
        if os.path.lexists(os.path.realpath(path)):
            return cls.load(path)
        identity = cls.generate()
        identity.save(path)
        return identity

    @classmethod
    def _of_pair(cls, key: bytes, secret: bytes) -> Identity:
        identity = object.__new__(cls)
        identity._key = key
        identity._secret = _Secret(secret)
        identity._certificate = None
        return identity

    @property
    def key(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key

    @property
    def certificate(self) -> bytes | None:
        """The encoded certificate of the name held with this key, or None; saved with the seed."""
        return self._certificate

    @certificate.setter
    def certificate(self, value: bytes | None) -> None:
        if value is not None and not 0 < len(value) <= CERTIFICATE_BYTES_MAX:
            raise UsageError(
                f"certificate of {len(value)} bytes must have 1 to {CERTIFICATE_BYTES_MAX}; "
                "use None for no certificate"
            )
        self._certificate = None if value is None else bytes(value)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature over `message`, 64 bytes."""
        return crypto_sign(message, self._secret.value)[:SIGNATURE_BYTES]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the identity to a file of mode 0600, whole or not at all.

        A symbolic link is followed and stays. A file already there is replaced only if it is an
        identity file of the same key that nobody else can read: an identity lost is lost for ever.

        Raises:
            IdentityError: one line that names the file, what is wrong and the cure.
        """
        # A dangling link resolves to the place where the file shall be.
        target = Path(os.path.realpath(path))
        if os.path.lexists(target):
            held = Identity.load(target)
            if held.key != self._key:
                raise IdentityError(
                    f"identity file {str(path)!r} holds another key, {short(held.key)}, "
                    f"and was not replaced by {short(self._key)}; move it away first"
                )
        try:
            write_private(target, self._encode())
        except OSError as error:
            fault = error.strerror or type(error).__name__
        else:
            return
        raise IdentityError(f"identity file {str(path)!r} cannot be written: {fault}")

    def _encode(self) -> bytes:
        lines = [f"{_MAGIC} {_VERSION}", f"seed {self._secret.value[:SEED_BYTES].hex()}"]
        if self._certificate is not None:
            lines.append(f"certificate {self._certificate.hex()}")
        body = "".join(f"{line}\n" for line in lines).encode("ascii")
        return body + f"checksum {sha256(body).hexdigest()}\n".encode("ascii")

    def __repr__(self) -> str:
        return f"Identity({short(self._key)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Identity cannot be pickled or copied; use save and load")


class IdentitySigner:
    """The `Signer` of real nodes: an identity and strict verification."""

    __slots__ = ("_identity", "_proofs")

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._proofs = Proofs(verify)

    @property
    def key(self) -> bytes:
        """Our public key, 32 bytes."""
        return self._identity.key

    def sign(self, message: bytes) -> bytes:
        """Return our signature over `message`, 64 bytes."""
        return self._identity.sign(message)

    def verify(self, key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` over `message` was made by `key`; never raises."""
        return verify(key, message, signature)

    def verify_kept(self, key: bytes, message: bytes, signature: bytes) -> bool:
        """As `verify`, for what is shown again and again: what was good is remembered."""
        return self._proofs.verify(key, message, signature)

    def __repr__(self) -> str:
        return f"IdentitySigner({short(self.key)})"


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 so that a crash leaves the old content or the new, never a part.

    The content goes to a temporary file in the same directory, to the disk, and then takes the
    place of `path` by a rename; the directory is flushed too, else the rename itself may be lost.

    Raises:
        OSError: as the operating system says; the temporary file is gone and `path` is untouched.
    """
    # mkstemp makes the file 0600 and refuses to open what is already there.
    descriptor, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
    )
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # The first fault is the one to tell; a temporary file that is gone is what we want.
        with suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> bytes:
    """Return the content of an identity file that only its owner can read.

    The mode is taken from the open file, so that a link, or a swap between two calls, cannot show
    one file and give another.
    """
    try:
        # Non-blocking, or a named pipe would hold us here; it means nothing to a regular file.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            fault = _unfit(os.fstat(descriptor))
            content = b"" if fault else file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise IdentityError(
            f"identity file {str(path)!r} cannot be read: {error.strerror or type(error).__name__}"
        ) from None
    if fault:
        raise IdentityError(f"identity file {str(path)!r} {fault}")
    return content


def _unfit(status: os.stat_result) -> str:
    """Return why a file must not be trusted with a secret, or the empty string."""
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file; name a file"
    if mode & _WIDER_THAN_OWNER:
        return f"has mode {mode:04o}, wider than 0600; draw a new key or run chmod 600 on it"
    return ""


def _parse(content: bytes) -> Identity | str:
    """Return the identity in the content of a file, or what is wrong with it.

    A fault is returned and not raised, so that no frame holding the seed enters a traceback.
    """
    if len(content) > _FILE_BYTES_MAX:
        return f"is larger than {_FILE_BYTES_MAX} bytes and so no identity file"
    magic, _, version = content.partition(b"\n")[0].rpartition(b" ")
    if magic != _MAGIC.encode("ascii"):
        return f"is no identity file: its first line is not '{_MAGIC} {_VERSION}'"
    if version != _VERSION.encode("ascii"):
        return f"has version {version[:16].decode('ascii', 'replace')!r}, this is {_VERSION!r}"
    body, found, checksum = content.rpartition(b"checksum ")
    if not found or checksum.strip() != sha256(body).hexdigest().encode("ascii"):
        return "is damaged: its checksum does not fit"
    return _fields(body)


def _fields(body: bytes) -> Identity | str:
    """Return the identity in the lines above a valid checksum, or what is wrong with them."""
    values: dict[str, bytes] = {}
    for line in body.decode("ascii", "replace").splitlines()[1:]:
        label, _, digits = line.partition(" ")
        if label not in ("seed", "certificate") or label in values:
            return "is damaged: it holds an unknown or repeated line"
        try:
            values[label] = bytes.fromhex(digits)
        except ValueError:
            return f"is damaged: its {label} is not hexadecimal"
    if len(values.get("seed", b"")) != SEED_BYTES:
        return f"is damaged: its seed has not {SEED_BYTES} bytes"
    if len(values.get("certificate", b"-")) not in range(1, CERTIFICATE_BYTES_MAX + 1):
        return f"is damaged: its certificate has not 1 to {CERTIFICATE_BYTES_MAX} bytes"
    identity = Identity.from_seed(values["seed"])
    identity.certificate = values.get("certificate")
    return identity
