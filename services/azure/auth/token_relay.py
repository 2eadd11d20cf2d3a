"""A person's sign-in, lent to the processes that carry runs: they can't ask anybody, and an access token lasts about an hour.

Each gets its tokens as lines on its standard input, a new one before the last ends, for as long as whoever signed in is there; never by a
file, a command line or a variable. What renews a token, azure-identity's refresh token, stays in the memory of this process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import RawIOBase
from typing import IO

from services.connection import Connection
from services.errors import StudioError

TOKEN_POLL_SECONDS = 60.0
"""Seconds between two looks whether there is a new token. There is one in the last five minutes of the old one (MSAL's rule)."""


class TokenSender:
    """Tells the runners that were started here. `lent` gives the connection with the tokens of now, and is asked in a thread."""

    def __init__(self, lent: Callable[[], Connection]) -> None:
        self._lent = lent
        self._lock = threading.Lock()
        self._pipes: list[IO[bytes]] = []
        self._told = ""

    def add(self, runner: IO[bytes], told: str) -> None:
        """A runner that was started, by its standard input, and the line that it was told."""
        with self._lock:
            self._pipes.append(runner)
            self._told = told
            if len(self._pipes) == 1:
                threading.Thread(target=self._lend, name="azure-lender", daemon=True).start()

    def _lend(self) -> None:
        """Until no runner is left."""
        while True:
            time.sleep(TOKEN_POLL_SECONDS)
            line = self._told
            with suppress(StudioError):  # out of reach for the moment, or the person has to sign in anew; the runner says so
                line = self._lent().to_pipe()
            with self._lock:
                self._pipes = [pipe for pipe in self._pipes if _tell(pipe, line if line != self._told else "")]
                self._told = line
                if not self._pipes:
                    return


def _tell(pipe: IO[bytes], line: str) -> bool:
    """Write a line, an empty one where there is no news; whether anybody reads it still."""
    try:
        pipe.write(f"{line}\n".encode())
        pipe.flush()
    except OSError:
        with suppress(OSError):
            pipe.close()
        return False
    return True


class TokenReceiver:
    """The other end: how to sign in, as a runner was told, with tokens that a thread keeps up to date from its standard input."""

    def __init__(self, told: RawIOBase) -> None:
        """`told` is not buffered: a thread that waits for a buffer's lock keeps Python from ending. Raises ValueError where nothing is
        told."""
        self._told = told
        self._news = threading.Event()
        connection = Connection.from_pipe(told.readline().decode())
        self._tokens = dict(connection.tokens)
        self.connection = replace(connection, tokens=self._tokens)
        self._ended = not self._tokens
        if self._tokens:
            threading.Thread(target=self._read, name="borrowed", daemon=True).start()

    def _read(self) -> None:
        while line := self._told.readline():
            if line.strip():
                self._tokens.update(Connection.from_pipe(line.decode()).tokens)
                self._news.set()
        self._ended = True
        self._news.set()

    def wait(self, seconds: float) -> bool:
        """Wait for a new token; whether there is one. At once where nobody is there any more to lend it."""
        self._news.clear()
        return not self._ended and self._news.wait(seconds) and not self._ended
