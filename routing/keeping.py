"""What a node keeps on disk: its identity with the certificate of its name, and its contact book.

Reading happens at start; writing in a thread beside the loop, one file at a time. A file that
cannot be written costs a line, not the node.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

from routing.book import ContactBook
from routing.config import Config
from routing.errors import IdentityError
from routing.identity import Identity, write_private
from routing.service.bookfile import load_book, save_book

__all__ = ["BOOK_SAVED_EVERY_S", "Keeping"]

BOOK_SAVED_EVERY_S: Final = 300.0
"""A crash loses at most the contacts of the last minutes; a disk is not worn out."""

log = logging.getLogger("routing")


class Keeping:
    """The files of one node, read when it is constructed.

    Raises:
        IdentityError, BookError: one line that names the file and the cure.
    """

    def __init__(self, config: Config) -> None:
        self._identity_path: str | os.PathLike[str] | None = None
        self._book_path = config.book
        match config.identity:
            case None:
                self.identity = Identity.generate()
            case Identity() as given:
                self.identity = given
            case path:
                self._identity_path = path
                self.identity = Identity.load_or_create(path)
        self.book: ContactBook | None = None
        if config.book is not None:
            loaded = load_book(config.book, config.limits)
            self.book = loaded.book
            if loaded.trouble is not None:
                log.warning("%s", loaded.trouble)
        self._written = b""
        self._unsaved = False
        self._saving: asyncio.Task[None] | None = None
        self._routine: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Write the book now and then from now on."""
        if self.book is not None:
            self._routine = asyncio.get_running_loop().create_task(self._save_book_often())

    def keep_certificate(self, certificate: bytes) -> None:
        """Keep the certificate with the identity, and on disk if that is in a file."""
        self.identity.certificate = certificate
        self._unsaved = True
        if self._identity_path is not None and self._saving is None:
            # Made so, no task factory begins it within this very call.
            self._saving = asyncio.Task(self._save_identity())

    async def end(self) -> None:
        """Write what is not yet written; no task of ours is left."""
        if self._routine is not None:
            self._routine.cancel()
            await asyncio.gather(self._routine, return_exceptions=True)
        if self._saving is not None:
            await self._saving
        if self.book is not None and self._book_path is not None:
            trouble = await asyncio.to_thread(save_book, self._book_path, self.book)
            if trouble is not None:
                log.warning("%s", trouble)

    async def _save_identity(self) -> None:
        assert self._identity_path is not None, "there is a file to save to"
        try:
            # A newer certificate that comes while this one is written is written next.
            while self._unsaved:
                self._unsaved = False
                await asyncio.to_thread(self.identity.save, self._identity_path)
        except IdentityError as error:
            log.warning("%s", error)
        finally:
            self._saving = None

    async def _save_book_often(self) -> None:
        assert self.book is not None, "there is a book to save"
        assert self._book_path is not None, "there is a file to save to"
        while True:
            await asyncio.sleep(BOOK_SAVED_EVERY_S)
            # Encoded here, where nobody changes it meanwhile; written beside the loop.
            content = self.book.encode()
            if content == self._written:
                continue
            try:
                await asyncio.to_thread(_write, self._book_path, content)
            except OSError as error:
                log.warning("contact book %r cannot be written: %s", str(self._book_path), error)
            else:
                self._written = content


def _write(path: str | os.PathLike[str], content: bytes) -> None:
    write_private(Path(os.path.realpath(path)), content)
