"""The contact book on disk: read at start, written now and then, never in the node's way.

A book that cannot be understood is set aside under another name, not overwritten; one that cannot
be written costs a line, not the node. Both calls block: run them outside the loop or at its ends.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from routing.book import BOOK_BYTES_MAX, ContactBook
from routing.errors import BookError
from routing.identity import write_private
from routing.limits import Limits

__all__ = ["SET_ASIDE_MAX", "Loaded", "load_book", "save_book"]

SET_ASIDE_MAX: Final = 99
"""Corrupt books kept beside the good one; somebody should have looked long before."""


class Loaded(NamedTuple):
    """What `load_book` found."""

    book: ContactBook
    trouble: str | None
    """One line to tell if the file was damaged and has been set aside, else None."""


def load_book(path: str | os.PathLike[str], limits: Limits | None = None) -> Loaded:
    """Return the contact book kept in a file, an empty one if there is no file.

    A file with damaged content is renamed to `<path>.corrupt-1`, or the next number that is free,
    and an empty book is returned with a line that says so.

    Raises:
        BookError: the file cannot be read, or is damaged and cannot be set aside. One line that
            names the file and the cure.
    """
    bounds = Limits.recommended() if limits is None else limits
    source = Path(path)
    try:
        with open(source, "rb") as file:
            # One byte more than allowed tells a file that is too large without reading it all.
            content = file.read(BOOK_BYTES_MAX + 1)
    except FileNotFoundError:
        return Loaded(_empty(bounds), None)
    except OSError as error:
        raise BookError(
            f"contact book {str(path)!r} cannot be read: {_text(error)}; "
            "make it readable or name another file"
        ) from None
    try:
        book = ContactBook.decode(
            content,
            bounds.contacts_max,
            bounds.contacts_per_group,
            exempt=bounds.exempt_networks,
            backoff_first=bounds.contact_backoff_first_ns,
            backoff_last=bounds.contact_backoff_last_ns,
        )
    except BookError as error:
        aside = _set_aside(source, fault=str(error))
        return Loaded(
            _empty(bounds),
            f"contact book {str(path)!r} {error}; it is now {aside.name!r} and a new one is begun",
        )
    return Loaded(book, None)


def save_book(path: str | os.PathLike[str], book: ContactBook) -> str | None:
    """Write the contact book to a file, whole or not at all.

    Returns:
        None, or one line to tell if it could not be written (disk full, read-only, no such
        directory); the file is then as it was before.
    """
    target = Path(os.path.realpath(path))
    try:
        write_private(target, book.encode())
    except OSError as error:
        return (
            f"contact book {str(path)!r} cannot be written: {_text(error)}; contacts stay in memory"
        )
    return None


def _empty(limits: Limits) -> ContactBook:
    return ContactBook(
        limits.contacts_max,
        limits.contacts_per_group,
        exempt=limits.exempt_networks,
        backoff_first=limits.contact_backoff_first_ns,
        backoff_last=limits.contact_backoff_last_ns,
    )


def _set_aside(source: Path, *, fault: str) -> Path:
    """Rename a damaged book to the first free name and return that.

    Raises:
        BookError: all names are taken, or the file cannot be renamed. Going on would overwrite it.
    """
    for number in range(1, SET_ASIDE_MAX + 1):
        aside = source.with_name(f"{source.name}.corrupt-{number}")
        if os.path.lexists(aside):
            continue
        try:
            os.rename(source, aside)
        except OSError as error:
            raise BookError(
                f"contact book {str(source)!r} {fault} and cannot be set aside: {_text(error)}; "
                "move it away"
            ) from None
        return aside
    raise BookError(
        f"contact book {str(source)!r} {fault} and {SET_ASIDE_MAX} damaged ones lie beside it; "
        "remove them"
    )


def _text(error: OSError) -> str:
    return error.strerror or type(error).__name__
