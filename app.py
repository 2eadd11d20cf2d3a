"""The dashboard as an ASGI app: `python app.py` (launcher.py has its options), or `streamlit run app.py`. Its frame is pages/shell.py."""

import contextlib
import logging
import platform
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import unquote_plus

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import launcher
from launcher import ADDRESS
from pages import _downloads
from services import log
from services.access import Access, is_of_another_user, users_are_told_apart, write_redirect
from services.errors import SettingsError, WorkspaceUnavailable
from services.storage.drafts import remove_old_drafts
from services.workspaces import default_home, finish_deletions_later

logger = logging.getLogger(__name__)

SECURITY_HEADERS = {
    # Images only from here: a file name shown as Markdown by mistake must not make the browser contact a server.
    "Content-Security-Policy": "frame-ancestors 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    # Cookies go to every port of a machine, so that a page of another user's server would show our files and images with them.
    "Cross-Origin-Resource-Policy": "same-origin",
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


class RequireToken:
    """Answers 403 on every route, the WebSocket included, unless the token is shown: in the address, where it is exchanged for a cookie;
    by that cookie; or as `Authorization: Bearer`. It stands in no address that is answered with a page: so in no Referer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answer(scope) if scope["type"] in ("http", "websocket") and self.access.required else None
        await (answer or self.app)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """What a request gets instead of what it asks for; None where it may have that."""
        request = HTTPConnection(scope)
        port = request.headers.get("host", "").rpartition(":")[2]  # the browser's, which port forwarding may make another than ours
        cookie = f"studio-{port if port.isdecimal() else 80}"
        belongs = self._shows_cookie(request, cookie) or self._shows_token(request)
        if "token" in request.query_params and scope.get("method") in ("GET", "HEAD"):
            shown = request.query_params["token"]
            belongs = belongs or self.access.is_token(shown)
            # A code may have stood on the browser's command line, which every user can read.
            belongs |= _is_ones_own(scope) and self.access.is_code(shown)
            query = "&".join(part for part in request.url.query.split("&") if unquote_plus(part.partition("=")[0]) != "token")
            scope["query_string"] = query.encode()  # a server's access log is made of it
            if belongs:
                path = "/" + scope["path"].lstrip("/")  # two slashes would begin the address of another server
                answer = RedirectResponse(f"{path}?{query}" if query else path, 303)
                answer.headers["Cache-Control"] = "no-store"
                answer.set_cookie(cookie, self.access.cookie(cookie), httponly=True, samesite="lax")
                return answer
        if belongs:
            return None
        return PlainTextResponse(
            "This dashboard needs its token: open the address that stands in the terminal in which it was started.\n",
            status_code=403,
            headers={"Cache-Control": "no-store"},
        )

    def _shows_token(self, request: HTTPConnection) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.access.is_token(token.strip())

    def _shows_cookie(self, request: HTTPConnection, name: str) -> bool:
        """Any cookie of the name: a server at another port can set one for a path here, which a browser then sends first."""
        pairs = (part.strip().partition("=") for line in request.headers.getlist("cookie") for part in line.split(";"))
        if not any(self.access.is_cookie(name, value) for key, _, value in pairs if key == name):
            return False
        return _is_ones_own(request.scope)


def _is_ones_own(scope: Scope) -> bool:
    """Whether the connection may be that of who started this: see `is_of_another_user`."""
    # uvicorn puts what this header says in the place of the client's address, and every client can send it.
    if "x-forwarded-for" in Headers(scope=scope) and users_are_told_apart():
        return False
    client, server = scope.get("client"), scope.get("server")
    return not (client and server and is_of_another_user(client, server))


@contextlib.asynccontextmanager
async def announced(app: st.App) -> AsyncGenerator[None, None]:
    """Print the address, and open a browser where there is one. The port listens already."""
    home, port = default_home(), st.get_option("server.port")
    log.to_dashboard_file(home, "streamlit.error_util", "uvicorn.error")  # where a bug in a page, or in a route, is logged
    log.log_uncaught(show=True)
    remove_old_drafts(home)
    finish_deletions_later()
    url = f"http://{ADDRESS}:{port}"
    shown = f"{url}/?token={access.token}" if access.required else f"{url}, for every user of this machine"
    try:
        print(f"Batch Scoring Studio is at {shown} (Ctrl-C stops it; runs continue)", flush=True)
    except OSError as error:
        sys.stderr.write(f"The dashboard can't print its address: {error.strerror or error}. Send its output elsewhere.\n")
        raise
    with contextlib.ExitStack() as at_the_end:
        if not st.get_option("server.headless"):
            try:
                to_open = f"{url}/?token={access.code()}" if access.required else url
                # Not everywhere: a browser in a sandbox, such as a snap, can't read the home.
                if access.required and not users_are_told_apart():
                    page = write_redirect(home.absolute(), port, to_open)
                    at_the_end.callback(page.unlink, missing_ok=True)
                    to_open = page.as_uri()
                launcher.open_page(to_open, in_a_window=app.state.get("in_a_window", False))
            except WorkspaceUnavailable as error:
                print(f"No browser is opened. {error.message} {error.hint}", flush=True)
        logger.info("Dashboard at %s, home %s, Python %s on %s", url, home, platform.python_version(), sys.platform)
        yield
    logger.info("Dashboard ended")


# Streamlit puts this folder first in sys.path for each run of a page and takes it out again, unless it is there already. A thread that
# imports something at that moment (Azure ML's SDK takes seconds) skips one entry and may not find an installed package.
sys.path.append(str(Path(__file__).parent / "pages"))

try:
    access = Access.from_environment()
except SettingsError as error:
    sys.exit(f"{error.message}. {error.hint}")

app = st.App(
    "pages/shell.py",
    routes=_downloads.ROUTES,
    lifespan=announced,
    # Streamlit's own allowedHosts guards its WebSocket only.
    middleware=[
        Middleware(SecurityHeaders),
        Middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"]),
        Middleware(SameOrigin),
        Middleware(RequireToken, access=access),
    ],
)


if __name__ == "__main__":
    sys.modules["app"] = sys.modules["__main__"]  # the launcher imports this module
    sys.exit(launcher.main())
