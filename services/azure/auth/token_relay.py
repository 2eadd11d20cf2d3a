"""A person's access tokens relayed to runners: these can't ask anybody, and a token lasts about an hour.

A runner gets them as lines on its standard input, a new one before the last expires, as long as this process runs; never by a file, a
command line or a variable. azure-identity's refresh token, which renews them, stays in the memory of this process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import RawIOBase
from typing import IO

from services import log
from services.connection import Connection
from services.errors import StudioError

logger = logging.getLogger(__name__)

TOKEN_POLL_SECONDS = 60.0
"""Between two checks for a new token. There is one in the last five minutes of the old one (MSAL's rule)."""


class TokenSender:
    """Sends tokens to the runners that were started here. `connection` returns the connection with current tokens; it is called in a
    thread and may raise StudioError."""

    def __init__(self, connection: Callable[[], Connection]) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._pipes: list[IO[bytes]] = []
        self._line = ""

    def add(self, pipe: IO[bytes], line: str) -> None:
        """The standard input of a runner that was started, and the line that it got already."""
        with self._lock:
            self._pipes.append(pipe)
            self._line = line
            if len(self._pipes) == 1:
                threading.Thread(target=self._send, name="token-sender", daemon=True).start()

    def _send(self) -> None:
        """Until no runner is left."""
        while True:
            time.sleep(TOKEN_POLL_SECONDS)
            line = self._line
            with log.suppress(logger, "No new token for the runners", StudioError):  # the runner reports it to the person
                line = self._connection().to_pipe()
            with self._lock:
                self._pipes = [pipe for pipe in self._pipes if _write(pipe, line if line != self._line else "")]
                self._line = line
                if not self._pipes:
                    return


def _write(pipe: IO[bytes], line: str) -> bool:
    """Write a line, an empty one where there is no new token. Returns whether the runner still reads."""
    try:
        pipe.write(f"{line}\n".encode())
        pipe.flush()
    except OSError:
        with suppress(OSError):
            pipe.close()
        return False
    return True


class TokenReceiver:
    """A runner's end: its connection, with tokens that a thread updates from its standard input."""

    def __init__(self, stdin: RawIOBase) -> None:
        """`stdin` is unbuffered: a thread that waits for a buffer's lock keeps Python from ending. Raises ValueError where it is empty."""
        self._stdin = stdin
        self._updated = threading.Event()
        connection = Connection.from_pipe(stdin.readline().decode())
        self._tokens = dict(connection.tokens)
        self.connection = replace(connection, tokens=self._tokens)
        self._closed = not self._tokens
        if self._tokens:
            threading.Thread(target=self._receive, name="token-receiver", daemon=True).start()

    def _receive(self) -> None:
        while line := self._stdin.readline():
            if line.strip():
                tokens = Connection.from_pipe(line.decode()).tokens
                log.hide(*tokens.values())
                self._tokens.update(tokens)
                self._updated.set()
        self._closed = True
        self._updated.set()

    def wait(self, seconds: float) -> bool:
        """Wait for a new token. Returns whether there is one, at once where the sender is gone."""
        self._updated.clear()
        return not self._closed and self._updated.wait(seconds) and not self._closed
