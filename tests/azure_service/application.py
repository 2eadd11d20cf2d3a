"""The application: one call in, watched, with its fault if there is one, to its handler and back."""

from __future__ import annotations

import asyncio
import logging
import time
from traceback import format_exc
from typing import Any

from starlette.concurrency import run_in_threadpool
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.azure_service.cloud import Cloud
from tests.azure_service.faults import Fault, Watch
from tests.azure_service.routes import Refusal, Reply, Request

_open: dict[tuple[str, int], asyncio.Transport] = {}  # by the caller's address: what a fault cuts


class CuttableProtocol(H11Protocol):
    """Remembers its connection, so that a fault can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._caller = transport.get_extra_info("peername")[:2]
        _open[self._caller] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        _open.pop(self._caller, None)
        super().connection_lost(exc)


class Application:
    """An ASGI application. Handlers are asked in a pool of threads, since they may ask this very server."""

    def __init__(self, cloud: Cloud, watch: Watch) -> None:
        self._cloud, self._watch = cloud, watch

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").partition(":")[0].lower()
        query = scope["query_string"].decode("latin-1")
        request = Request.received(scope["method"], host, scope["raw_path"].decode("latin-1").partition("?")[0], query, headers, body)
        fault = self._watch.fault_for(request.line)
        if fault and fault.seconds:
            await asyncio.sleep(fault.seconds)
        while fault and fault.held:
            await asyncio.sleep(0.01)
        if fault and fault.cut:
            return self._cut(scope, request)
        reply = await run_in_threadpool(self._reply, request, fault)
        if fault and fault.lost:
            return self._cut(scope, request)
        self._watch.saw(request.line, reply.status, time.monotonic())
        torn = fault is not None and fault.torn
        await _send(reply, request.method, send, torn=torn)
        if torn and (transport := _open.get(tuple(scope["client"]))):
            transport.close()  # what is written is sent before

    def _cut(self, scope: dict[str, Any], request: Request) -> None:
        self._watch.saw(request.line, 0, time.monotonic())
        if transport := _open.get(tuple(scope["client"])):
            transport.abort()

    def _reply(self, request: Request, fault: Fault | None) -> Reply:
        if fault and fault.status:
            return _refused_by(fault).reply(request)
        if fault and fault.swallow:
            request.body = b""
        match = self._cloud.find(request)
        if match is None:
            self._watch.does_not_know(request.line)
            return Refusal(404, "UnknownRoute", f"The stand-in has no route {request.line}").reply(request)
        try:
            answer = self._cloud.answer(request, match)
        except Refusal as refusal:
            return refusal.reply(request)
        except Exception:  # noqa: BLE001 - the edge: a fault of the stand-in itself fails the test that met it, by name
            traceback = format_exc()
            logging.getLogger(__name__).error("%s\n%s", request.line, traceback)
            self._watch.does_not_know(f"{request.line} failed:\n{traceback}")
            return Refusal(400, "StandInFailed", traceback.strip().rpartition("\n")[2]).reply(request)
        return answer if isinstance(answer, Reply) else Reply(answer)


def _refused_by(fault: Fault) -> Refusal:
    codes = {401: "AuthenticationFailed", 403: "AuthorizationFailed", 404: "NotFound", 409: "Conflict", 429: "TooManyRequests"}
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.status == 401:
        headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return Refusal(
        fault.status, fault.code or codes.get(fault.status, "InternalServerError"), fault.message or "As the test asked.", headers
    )


async def _send(reply: Reply, method: str, send: Any, *, torn: bool) -> None:
    body = reply.encoded()
    headers = {"Content-Type": reply.media_type, "Content-Length": str(len(body)), "x-ms-request-id": "stand-in"} | reply.headers
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
    sent = b"" if method == "HEAD" else body[: len(body) // 2] if torn else body
    await send({"type": "http.response.body", "body": sent, "more_body": torn})
