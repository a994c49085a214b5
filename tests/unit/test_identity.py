"""Keys, signatures and the identity file: strict, private, and whole or not at all."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import stat
import traceback
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing import identity as identity_module
from routing.errors import IdentityError, UsageError
from routing.identity import (
    CERTIFICATE_BYTES_MAX,
    Identity,
    IdentitySigner,
    Signer,
    verify,
    write_private,
)

__all__: list[str] = []

SEED = bytes(range(32))

# RFC 8032, 7.1: seed, public key, message, signature.
PUBLISHED = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701"
        "cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d"
        "0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493

# The encodings of points of small order, canonical and not.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def own_frames(error: BaseException) -> str:
    """Return the locals of the frames of the module only: this test knows the seed anyway."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in report.stack if frame.filename == identity_module.__file__]
    assert frames
    shown = [text for frame in frames for text in (frame.locals or {}).values()]
    return "\n".join([*shown, str(error)])


@pytest.mark.parametrize(("seed", "key", "message", "signature"), PUBLISHED)
def test_published_vectors_hold(seed: str, key: str, message: str, signature: str) -> None:
    identity = Identity.from_seed(bytes.fromhex(seed))
    assert identity.key.hex() == key
    assert identity.sign(bytes.fromhex(message)).hex() == signature
    assert verify(identity.key, bytes.fromhex(message), bytes.fromhex(signature))


@given(st.binary(max_size=200), st.integers(0, 8 * 96 - 1))
def test_any_flipped_bit_of_key_or_signature_is_refused(message: bytes, bit: int) -> None:
    identity = Identity.from_seed(SEED)
    whole = bytearray(identity.key + identity.sign(message))
    whole[bit // 8] ^= 1 << bit % 8
    assert not verify(bytes(whole[:32]), message, bytes(whole[32:]))


def test_another_message_is_refused() -> None:
    identity = Identity.from_seed(SEED)
    assert not verify(identity.key, b"b", identity.sign(b"a"))


def test_scalar_outside_its_range_is_refused() -> None:
    identity = Identity.from_seed(SEED)
    signature = identity.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    forged = signature[:32] + scalar.to_bytes(32, "little")
    assert verify(identity.key, b"message", signature)
    assert not verify(identity.key, b"message", forged)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_points_of_small_order_are_refused_as_key_and_as_commitment(point: str) -> None:
    raw = bytes.fromhex(point)
    # S = 0 and R = A: for the neutral element this fits every message under lax rules.
    assert not verify(raw, b"any message", raw + bytes(32))
    assert not verify(raw, b"any message", bytes.fromhex(SMALL_ORDER[0]) + bytes(32))
    assert not verify(Identity.from_seed(SEED).key, b"any message", raw + bytes(32))


@pytest.mark.parametrize(
    ("key", "message", "signature"),
    [
        (b"", b"m", bytes(64)),
        (bytes(31), b"m", bytes(64)),
        (bytes(33), b"m", bytes(64)),
        (SEED, b"m", b""),
        (SEED, b"m", bytes(63)),
        (SEED, b"m", bytes(65)),
        (None, b"m", bytes(64)),
        (SEED, "m", bytes(64)),
        (SEED, None, bytes(64)),
        (SEED, b"m", 64),
        ("k" * 32, b"m", bytes(64)),
        (SEED, b"m", "s" * 64),
    ],
)
def test_input_of_a_wrong_length_or_type_is_false_and_never_raises(
    key: object, message: object, signature: object
) -> None:
    assert verify(key, message, signature) is False  # type: ignore[arg-type]


def test_generated_identities_differ_and_sign() -> None:
    one, other = Identity.generate(), Identity.generate()
    assert one.key != other.key
    assert verify(one.key, b"m", one.sign(b"m"))
    assert not verify(other.key, b"m", one.sign(b"m"))


def test_identity_without_a_key_cannot_be_made() -> None:
    with pytest.raises(UsageError, match=r"use Identity\.generate"):
        Identity()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_seed_of_another_length_is_refused_and_not_shown(size: int) -> None:
    secret = b"\xa7" * size
    with pytest.raises(UsageError, match=f"seed of {size} bytes") as caught:
        Identity.from_seed(secret)
    assert not secret or repr(secret)[2:-1] not in own_frames(caught.value)


def test_identity_shows_and_gives_away_nothing_secret() -> None:
    identity = Identity.from_seed(SEED)
    assert repr(identity) == f"Identity({identity.key[:4].hex()})"
    assert repr(IdentitySigner(identity)) == f"IdentitySigner({identity.key[:4].hex()})"
    for deed in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied") as caught:
            deed(identity)
        assert SEED.hex() not in own_frames(caught.value)
        assert repr(SEED)[2:-1] not in own_frames(caught.value)
    inner = [repr(getattr(identity, slot)) for slot in Identity.__slots__]
    assert all(repr(SEED)[2:20] not in text for text in inner)
    with pytest.raises(TypeError, match="secret key cannot be pickled"):
        pickle.dumps(identity._secret)


def test_signer_of_an_identity_is_a_signer() -> None:
    identity = Identity.from_seed(SEED)
    signer: Signer = IdentitySigner(identity)
    assert signer.key == identity.key
    assert signer.verify(signer.key, b"m", signer.sign(b"m"))
    assert not signer.verify(signer.key, b"x", signer.sign(b"m"))


# -- the file


def saved(path: Path, certificate: bytes | None = None) -> Identity:
    identity = Identity.from_seed(SEED)
    identity.certificate = certificate
    identity.save(path)
    return identity


@pytest.mark.parametrize("certificate", [None, b"\x00", b"c" * CERTIFICATE_BYTES_MAX])
def test_saved_identity_is_loaded_with_its_certificate(
    tmp_path: Path, certificate: bytes | None
) -> None:
    path = tmp_path / "id"
    saved(path, certificate)
    loaded = Identity.load(path)
    assert loaded.key == Identity.from_seed(SEED).key
    assert loaded.certificate == certificate
    assert loaded.sign(b"m") == Identity.from_seed(SEED).sign(b"m")


def test_file_is_for_its_owner_alone_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        saved(tmp_path / "id")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "id").stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["id"]


def test_file_is_as_documented(tmp_path: Path) -> None:
    saved(tmp_path / "id", b"\xab")
    body = f"routing identity 1\nseed {SEED.hex()}\ncertificate ab\n"
    checksum = sha256(body.encode()).hexdigest()
    assert (tmp_path / "id").read_text() == f"{body}checksum {checksum}\n"


def test_certificate_is_replaced_and_removed_by_saving_again(tmp_path: Path) -> None:
    path = tmp_path / "id"
    identity = saved(path, b"old")
    identity.certificate = b"new"
    identity.save(path)
    assert Identity.load(path).certificate == b"new"
    identity.certificate = None
    identity.save(path)
    assert Identity.load(path).certificate is None


@pytest.mark.parametrize("size", [0, CERTIFICATE_BYTES_MAX + 1])
def test_certificate_out_of_bounds_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"certificate of {size} bytes"):
        Identity.from_seed(SEED).certificate = bytes(size)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o777])
def test_file_that_others_can_read_is_refused_by_load_and_save(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "id"
    identity = saved(path)
    path.chmod(mode)
    with pytest.raises(IdentityError, match=f"mode {mode:04o}, wider than 0600.*chmod 600"):
        Identity.load(path)
    with pytest.raises(IdentityError, match="wider than 0600"):
        identity.save(path)


def test_link_is_judged_by_the_file_it_leads_to(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    identity = saved(target)
    link.symlink_to(target)
    assert Identity.load(link).key == identity.key
    target.chmod(0o644)
    with pytest.raises(IdentityError, match="wider than 0600"):
        Identity.load(link)
    with pytest.raises(IdentityError, match="wider than 0600"):
        identity.save(link)


def test_saving_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    identity = saved(link)
    assert link.is_symlink()
    assert Identity.load(target).key == identity.key


def test_identity_of_another_key_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "id"
    saved(path)
    before = path.read_bytes()
    with pytest.raises(IdentityError, match="holds another key"):
        Identity.generate().save(path)
    assert path.read_bytes() == before


def test_other_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("precious")
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="no identity file"):
        Identity.from_seed(SEED).save(path)
    assert path.read_text() == "precious"


def checked(body: str) -> bytes:
    raw = body.encode()
    return raw + b"checksum " + sha256(raw).hexdigest().encode() + b"\n"


HEAD = "routing identity 1\n"
SEED_LINE = f"seed {SEED.hex()}\n"

DAMAGED = [
    (b"", "is no identity file"),
    (b"\x00" * 100, "is no identity file"),
    (b"x" * 20_000, "larger than 16384 bytes"),
    (checked("routing identity 2\n" + SEED_LINE), "has version '2', this is '1'"),
    (checked(HEAD + SEED_LINE)[:-2], "checksum does not fit"),
    (checked(HEAD + SEED_LINE).replace(b"0001", b"0002", 1), "checksum does not fit"),
    ((HEAD + SEED_LINE).encode(), "checksum does not fit"),
    (checked(HEAD), "its seed has not 32 bytes"),
    (checked(HEAD + "seed 00\n"), "its seed has not 32 bytes"),
    (checked(HEAD + f"seed {'zz' * 32}\n"), "its seed is not hexadecimal"),
    (checked(HEAD + SEED_LINE + SEED_LINE), "unknown or repeated line"),
    (checked(HEAD + SEED_LINE + "colour blue\n"), "unknown or repeated line"),
    (checked(HEAD + SEED_LINE + "certificate \n"), "certificate has not 1 to 4096 bytes"),
    (checked(HEAD + SEED_LINE + f"certificate {'ab' * 4097}\n"), "certificate has not 1 to 4096"),
    (checked(HEAD + SEED_LINE + "certificate xy\n"), "its certificate is not hexadecimal"),
]


@pytest.mark.parametrize(("content", "fault"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_file_gives_one_line_without_the_seed(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    path = tmp_path / "id"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match=fault) as caught:
        Identity.load(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    seen = own_frames(caught.value)
    assert SEED.hex() not in seen
    assert repr(SEED)[2:20] not in seen
    assert caught.value.__cause__ is None


def test_missing_file_and_directory_and_pipe_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="cannot be read: No such file"):
        Identity.load(tmp_path / "none")
    with pytest.raises(IdentityError, match=r"Is a directory|not a regular file"):
        Identity.load(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(IdentityError, match="is not a regular file"):
        Identity.load(tmp_path / "pipe")


def test_identity_is_created_once_and_loaded_ever_after(tmp_path: Path) -> None:
    path = tmp_path / "id"
    first = Identity.load_or_create(path)
    assert Identity.load_or_create(path).key == first.key
    path.write_bytes(b"broken")
    with pytest.raises(IdentityError, match="is no identity file"):
        Identity.load_or_create(path)


def test_directory_that_is_not_there_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="cannot be written: No such file") as caught:
        saved(tmp_path / "no" / "id")
    assert SEED.hex() not in own_frames(caught.value)
    assert repr(SEED)[2:20] not in own_frames(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "id"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["id"]


def test_full_disk_is_told_by_save_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IdentityError, match="cannot be written: No space left on device"):
        saved(tmp_path / "id")
    assert list(tmp_path.iterdir()) == []
