"""The launcher: `python app.py`, or `streamlit run app.py`. The dashboard's frame is pages/shell.py."""

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import cli_util

from pages import _downloads

ADDRESS = "127.0.0.1"
SECURITY_HEADERS = {
    # Images only from here: a file name shown as Markdown by mistake must not make the browser call somebody.
    "Content-Security-Policy": "frame-ancestors 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class SecurityHeaders:
    """Streamlit sends no security headers of its own. Plain ASGI, so that what streams keeps streaming."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class SameOrigin:
    """Refuse what a page from elsewhere asks. Streamlit would refuse its WebSocket too, but first look up our public address on the web."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else Headers()
        if "origin" in headers and headers["origin"].partition("://")[2] != headers.get("host"):
            await PlainTextResponse("This page may not ask for that", status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@contextlib.asynccontextmanager
async def announced(_app: st.App) -> AsyncGenerator[None, None]:
    """Say where the dashboard is, and open a browser where there is one. The port listens already."""
    url = f"http://{ADDRESS}:{st.get_option('server.port')}"
    print(f"Batch Scoring Studio is at {url} (Ctrl-C ends it; runs go on)", flush=True)
    if not st.get_option("server.headless"):
        cli_util.open_browser(url)
    yield


# Streamlit puts this folder first in sys.path for each run of a page and takes it out again, unless it is there already. A thread that
# imports something at that moment (Azure ML's SDK, which takes seconds) passes over one entry, and may not find what is installed.
sys.path.append(str(Path(__file__).parent / "pages"))

app = st.App(
    "pages/shell.py",
    routes=_downloads.ROUTES,
    lifespan=announced,
    # Streamlit's own allowedHosts guards its WebSocket only.
    middleware=[
        Middleware(SecurityHeaders),
        Middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"]),
        Middleware(SameOrigin),
    ],
)


def free_port(first: int) -> int:
    """The first port from `first` up that nobody listens on at 127.0.0.1. Ends the program when there is none."""
    for port in range(first, 2**16):
        with contextlib.suppress(OSError), socket.socket() as probe:
            if os.name != "nt":  # there it would take a port that somebody listens on
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((ADDRESS, port))
            return port
    raise SystemExit(f"There is no free port from {first} up. Choose a lower one with --port.")


def main() -> None:
    """Choose the port and serve until Ctrl-C."""
    from uvicorn.config import LOGGING_CONFIG

    parser = argparse.ArgumentParser(prog="app.py", description="Batch Scoring Studio, in the browser.")
    parser.add_argument("--port", type=int, default=8501, help="default: %(default)s; when taken, the next free one")
    wanted: int = parser.parse_args().port
    if not 0 <= wanted < 2**16:
        parser.error(f"argument --port: {wanted} is no port; choose one from 1024 to 65535")
    port = free_port(wanted)
    if port != wanted:
        print(f"Port {wanted} is taken; using {port}", flush=True)
    LOGGING_CONFIG["loggers"]["uvicorn.error"]["level"] = "WARNING"  # its four lines of greeting say less than ours
    with contextlib.suppress(KeyboardInterrupt):
        app.run(config={"server.port": port})


if __name__ == "__main__":
    main()
