"""The contact book on disk: damage is set aside and told, and writing never hurts the node."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from routing.book import BOOK_BYTES_MAX, ContactBook
from routing.endpoints import parse
from routing.errors import BookError
from routing.limits import Limits
from routing.service.bookfile import SET_ASIDE_MAX, load_book, save_book

__all__: list[str] = []


def sample() -> ContactBook:
    book = ContactBook()
    book.proved(parse("8.8.8.8:5483"), 0)
    book.learn(parse("[2a00:1450::1]:5483"))
    return book


def test_missing_file_is_an_empty_book_and_no_trouble(tmp_path: Path) -> None:
    book, trouble = load_book(tmp_path / "book")
    assert len(book) == 0
    assert trouble is None
    assert list(tmp_path.iterdir()) == []


def test_saved_book_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "book"
    assert save_book(path, sample()) is None
    assert save_book(str(path), sample()) is None
    book, trouble = load_book(str(path))
    assert trouble is None
    assert book.all_contacts() == sample().all_contacts()
    assert book.anchors() == sample().anchors()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["book"]


def test_book_loaded_has_the_bounds_given(tmp_path: Path) -> None:
    path = tmp_path / "book"
    save_book(path, sample())
    limits = Limits.recommended().but(contacts_per_group=1, contacts_max=3, exempt_networks=())
    for book in (load_book(path, limits).book, load_book(tmp_path / "none", limits).book):
        assert book.learn(parse("127.0.0.1:5001"))
        assert not book.learn(parse("127.0.0.1:5002"))


DAMAGED = {
    "empty": b"",
    "random": bytes(range(256)),
    "cut": sample().encode()[:-5],
    "huge": b"x" * (BOOK_BYTES_MAX + 1),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_file_is_set_aside_whole_and_told_in_one_line(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "book"
    path.write_bytes(content)
    book, trouble = load_book(path)
    assert len(book) == 0
    assert trouble is not None
    assert str(path) in trouble
    assert "'book.corrupt-1'" in trouble
    assert "\n" not in trouble
    assert not path.exists()
    assert (tmp_path / "book.corrupt-1").read_bytes() == content


def test_damaged_files_get_numbers_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "book"
    for number in (1, 2, 3):
        path.write_bytes(b"damage %d" % number)
        load_book(path)
    kept = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert kept == {f"book.corrupt-{n}": b"damage %d" % n for n in (1, 2, 3)}


def test_damaged_file_is_never_overwritten_when_all_names_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "book"
    path.write_bytes(b"damage")
    for number in range(1, SET_ASIDE_MAX + 1):
        (tmp_path / f"book.corrupt-{number}").write_bytes(b"older")
    with pytest.raises(BookError, match="99 damaged ones lie beside it; remove them"):
        load_book(path)
    assert path.read_bytes() == b"damage"


def test_damaged_file_that_cannot_be_moved_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "book"
    path.write_bytes(b"damage")

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "rename", read_only)
    with pytest.raises(BookError, match="cannot be set aside: Read-only file system; move it away"):
        load_book(path)
    assert path.read_bytes() == b"damage"


def test_file_that_cannot_be_read_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(BookError, match="cannot be read: Is a directory; make it readable"):
        load_book(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_book_that_cannot_be_written_is_told_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "book"
    assert save_book(path, sample()) is None
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    trouble = save_book(path, ContactBook())
    assert trouble == (
        f"contact book {str(path)!r} cannot be written: {os.strerror(code)}; "
        "contacts stay in memory"
    )
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["book"]


def test_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    trouble = save_book(tmp_path / "no" / "book", sample())
    assert trouble is not None
    assert "No such file or directory" in trouble


def test_saving_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "book")
    assert save_book(link, sample()) is None
    assert link.is_symlink()
    assert load_book(tmp_path / "book").book.anchors() == sample().anchors()
