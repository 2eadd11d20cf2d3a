"""Who may use the dashboard: whoever shows its token, as with Jupyter. Every user of a machine can reach a port on 127.0.0.1.

Values only, nothing of HTTP, which is app.py's. SECURITY.md says what this holds against, and what it doesn't.
"""

from __future__ import annotations

import hmac
import html
import os
import re
import secrets
import socket
import stat
import struct
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from services import environment_variables, log
from services.errors import SettingsError, WorkspaceUnavailable, os_errors_as
from services.storage.atomic import write_atomically

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_TCP_ESTABLISHED = 1
_SOCKET_ID = struct.Struct("!HH16s16sI8s")  # inet_diag_sockid: the ports, the addresses, the interface, a cookie
_DIAG_REQUEST = struct.Struct("=IHHII BBBBI")  # nlmsghdr, inet_diag_req_v2 up to its socket id
_UID_OFFSET = 16 + 4 + _SOCKET_ID.size + 12  # in the answer: nlmsghdr, inet_diag_msg up to idiag_uid


class Access:
    """The token of one dashboard and what stands for it, from its start to its end. Every comparison takes the same time.

    `token` is the one to ask for; `required` is False where a person chose to ask for none.
    """

    def __init__(self, token: str = "") -> None:
        """`token` is one that a person chose; without one it is new. Raises SettingsError for one that could be guessed."""
        if token and not re.fullmatch(r"[A-Za-z0-9._~-]{16,}", token):
            hint = "Use at least 16 letters, digits and - . _ ~ without a space, or none: then each start has a token of its own."
            raise SettingsError("BATCH_SCORING_TOKEN", "The value of BATCH_SCORING_TOKEN can't be a token", hint)
        self.token = token or secrets.token_urlsafe(24)
        self.required = True
        # Not the token: a server of another user at another port is sent the cookie, and must not be able to try tokens on it.
        self._cookie_key = secrets.token_bytes(32)
        self._codes: set[bytes] = set()
        log.hide(self.token)

    @classmethod
    def from_environment(cls) -> Access:
        """With `BATCH_SCORING_TOKEN`, which this process and its children don't have from now on. Raises SettingsError."""
        return cls(environment_variables.take("BATCH_SCORING_TOKEN"))

    def code(self) -> str:
        """A new code that is good once instead of the token, for what a browser keeps in its history."""
        code = secrets.token_urlsafe(24)
        self._codes.add(code.encode())
        log.hide(code)
        return code

    def is_token(self, shown: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(shown.encode(), self.token.encode())

    def is_code(self, shown: str) -> bool:
        """Whether this is a code that was not used yet; it is used up by this."""
        used = {code for code in self._codes if hmac.compare_digest(shown.encode(), code)}
        self._codes -= used
        return bool(used)

    def cookie(self, name: str) -> str:
        """The value of the cookie of this name: good under no other name, and for no other dashboard or start."""
        return hmac.new(self._cookie_key, name.encode(), "sha256").hexdigest()

    def is_cookie(self, name: str, shown: str) -> bool:
        """Whether this is the value of the cookie of this name."""
        return hmac.compare_digest(shown.encode(), self.cookie(name).encode())


def write_redirect(home: Path, port: int, url: str) -> Path:
    """A page that takes a browser to `url` and that no other user can read: what is on a command line, every user can.

    Raises WorkspaceUnavailable, also where another user could put another page in its place.
    """
    folder = home / "browser"
    hint = "Choose a home of your own by BATCH_SCORING_HOME."
    with os_errors_as(WorkspaceUnavailable, f"A page for the browser can't be written in {home}", hint):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            of_home, of_folder = home.stat(), folder.lstat()
            for_all = of_home.st_mode & stat.S_IWOTH and not of_home.st_mode & stat.S_ISVTX
            if (
                of_home.st_uid not in (os.geteuid(), 0)
                or for_all
                or of_folder.st_uid != os.geteuid()
                or not stat.S_ISDIR(of_folder.st_mode)
            ):
                raise WorkspaceUnavailable(f"Another user can change what is in {home}.", hint)
            folder.chmod(0o700)
        page = folder / f"dashboard-{port}.html"
        text = html.escape(url)
        write_atomically(
            page,
            '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>Batch Scoring Studio</title>'
            f'<meta http-equiv="refresh" content="0;url={text}"><p><a href="{text}">Open the dashboard</a></p>\n',
            private=True,
        )
        return page


def is_of_another_user(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether the client's end of this connection is another user's of this machine, or already closed. Root counts as oneself.

    False where that can't be said: where `users_are_told_apart` is False, for a connection from elsewhere or from outside a virtual
    machine.
    """
    user = _user_of(client, server) if sys.platform == "linux" else None
    return user is not None and user not in (os.geteuid(), 0)


@cache
def users_are_told_apart() -> bool:
    """Whether this system says whose a connection on this machine is. Linux does."""
    if sys.platform != "linux":
        return False
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as client:
        return _user_of(client.getsockname(), listening.getsockname()) == os.geteuid()


def _user_of(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user id of the process with the client's end of a TCP connection (IPv4), asked from the kernel: -1 for a closed one, which has
    none any more; None where it doesn't know the connection. Source: sock_diag(7)."""
    with suppress(OSError, struct.error):
        addresses = (socket.inet_aton(client[0]).ljust(16, b"\0"), socket.inet_aton(server[0]).ljust(16, b"\0"))
        asked = _SOCKET_ID.pack(client[1], server[1], *addresses, 0, b"\xff" * 8)
        header = _DIAG_REQUEST.pack(
            _DIAG_REQUEST.size + len(asked), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0,
            socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF,
        )  # fmt: skip
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
            netlink.settimeout(1)
            netlink.send(header + asked)
            answer = netlink.recv(4096)
        kind, state, user = (struct.unpack_from(form, answer, offset)[0] for form, offset in (("=H", 4), ("=B", 17), ("=I", _UID_OFFSET)))
        if kind == _SOCK_DIAG_BY_FAMILY:
            return int(user) if state == _TCP_ESTABLISHED else -1
    return None
