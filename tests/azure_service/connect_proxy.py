"""A CONNECT proxy that takes every host of Azure to the one port of the stand-in, and lets nothing out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from fnmatch import fnmatchcase

from tests.azure_service.certificates import HOSTS

QUIETLY_REFUSED = ("dc.services.visualstudio.com", "*.in.applicationinsights.azure.com")  # telemetry


class ConnectProxy:
    """`unknown` is called with a host that the stand-in doesn't support."""

    def __init__(self, target: tuple[str, int], unknown: Callable[[str], None]) -> None:
        self._target, self._unknown = target, unknown

    async def start(self) -> int:
        """Returns the port it listens at, on 127.0.0.1."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError)  # the last when the service ends
        with contextlib.suppress(*ends):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target = head.split(" ")[:2]
            host = target.rpartition(":")[0].lower()
            if method == "CONNECT" and any(fnmatchcase(host, pattern) for pattern in HOSTS):
                upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_pass_on(reader, upstream_writer), _pass_on(upstream_reader, writer))
            else:
                if not any(fnmatchcase(host, pattern) for pattern in QUIETLY_REFUSED):
                    self._unknown(f"{method} {target}")
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    writer.close()
