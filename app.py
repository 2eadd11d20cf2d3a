"""The dashboard as an ASGI app: `python app.py` (launcher.py has its options), or `streamlit run app.py`. Its frame is pages/shell.py."""

import contextlib
import logging
import platform
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import launcher
from launcher import ADDRESS
from pages import _downloads
from services import log
from services.workspaces import default_home

logger = logging.getLogger(__name__)

SECURITY_HEADERS = {
    # Images only from here: a file name shown as Markdown by mistake must not make the browser contact a server.
    "Content-Security-Policy": "frame-ancestors 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class SecurityHeaders:
    """Adds security headers, of which Streamlit sends none. Plain ASGI, so that streamed responses keep streaming."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class SameOrigin:
    """Rejects requests of pages of another origin. Streamlit would reject their WebSockets too, but first look up our public address."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else Headers()
        if "origin" in headers and headers["origin"].partition("://")[2] != headers.get("host"):
            await PlainTextResponse("Requests from another origin are not allowed", status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@contextlib.asynccontextmanager
async def announced(app: st.App) -> AsyncGenerator[None, None]:
    """Print the URL, and open a browser where there is one. The port listens already."""
    home = default_home()
    log.to_dashboard_file(home, "streamlit.error_util", "uvicorn.error")  # where a bug in a page, or in a route, is logged
    log.log_uncaught(show=True)
    url = f"http://{ADDRESS}:{st.get_option('server.port')}"
    print(f"Batch Scoring Studio is at {url} (Ctrl-C stops it; runs continue)", flush=True)
    if not st.get_option("server.headless"):
        launcher.open_page(url, in_a_window=app.state.get("in_a_window", False))
    logger.info("Dashboard at %s, home %s, Python %s on %s", url, home, platform.python_version(), sys.platform)
    yield
    logger.info("Dashboard ended")


# Streamlit puts this folder first in sys.path for each run of a page and takes it out again, unless it is there already. A thread that
# imports something at that moment (Azure ML's SDK takes seconds) skips one entry and may not find an installed package.
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


if __name__ == "__main__":
    sys.modules["app"] = sys.modules["__main__"]  # the launcher imports this module
    sys.exit(launcher.main())
