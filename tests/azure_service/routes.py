"""What a route of the stand-in is: a method of a handler, marked by `@route`. Requests, replies and refusals travel as the values below."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode
from xml.sax.saxutils import escape

REGION = "westeurope"
API = f"https://{REGION}.api.azureml.ms"
WORKSPACE_PATH = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<workspace>[^/?]+)",
    re.IGNORECASE,
)


@dataclass
class Request:
    """One call. `path` has `{ws}` in the place of the workspace's own path; `workspace` is (subscription, group, name) or None."""

    method: str
    host: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    workspace: tuple[str, str, str] | None

    @classmethod
    def received(cls, method: str, host: str, raw_path: str, raw_query: str, headers: Mapping[str, str], body: bytes) -> Request:
        match = WORKSPACE_PATH.search(raw_path)
        path = raw_path[: match.start()] + "{ws}" + raw_path[match.end() :] if match else raw_path
        named = (unquote(match["subscription"]), unquote(match["group"]), unquote(match["workspace"])) if match else None
        return cls(method, host, path, parse_qs(raw_query, keep_blank_values=True), headers, body, named)

    @property
    def line(self) -> str:
        """`GET https://westeurope.api.azureml.ms/modelmanagement/v1.0{ws}/models?name=x`: what faults and counts are matched against."""
        query = "&".join(f"{name}={value}" for name, values in self.query.items() for value in values if name != "sig")
        return f"{self.method} https://{self.host}{unquote(self.path)}" + (f"?{query}" if query else "")

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body or b"null")
        except ValueError as error:
            raise Refusal(400, "BadRequest", f"The body is no JSON: {error}") from error

    def asked(self, name: str, default: str = "") -> str:
        """A query parameter, whatever its case."""
        return next((values[0] for key, values in self.query.items() if key.lower() == name.lower()), default)


@dataclass
class Reply:
    """`content` is sent as JSON unless it is bytes already, as what `media_type` says."""

    content: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"

    def encoded(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


class Refusal(Exception):
    """An error as Azure words it: a status, a code and a message, in the body its SDK expects."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})

    def reply(self, request: Request) -> Reply:
        if request.host.endswith(".blob.core.windows.net"):
            text = f"<Error><Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message></Error>"
            content = f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode()
            return Reply(content, self.status, self.headers | {"x-ms-error-code": self.code}, "application/xml")
        if request.host == "management.azure.com":
            shape = {"target": None, "details": [], "additionalInfo": [{"type": "ComponentName", "info": {"value": "managementfrontend"}}]}
            return Reply({"error": {"code": self.code, "message": self.message} | shape}, self.status, self.headers)
        body = {
            "error": {"code": self.code, "message": self.message, "target": None, "details": [], "innerError": None},
            "correlation": {"operation": "0" * 32, "request": "0" * 16},
            "environment": REGION,
            "location": REGION,
            "time": now(),
        }
        if "/modelmanagement/" in request.path:  # a service with a form of its own
            body |= {"code": self.code, "statusCode": self.status, "message": self.message, "details": []}
        return Reply(body, self.status, self.headers)


def not_found(what: str, name: object) -> Refusal:
    return Refusal(404, "NotFound", f"{what} {name} was not found.")


def route(method: str, template: str, host: str = "api") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a method as the answer to `method template` at the host of that kind. `{name}` is one segment, `{name*}` the rest, `{ws}`
    the workspace's path, `{noun}` what the class says. What it returns is a Reply, or what is to be sent as JSON with 200."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__dict__.setdefault("routes", []).append((method, template, host))
        return function

    return mark


@dataclass(frozen=True)
class Found:
    """The handler, the method's name and its arguments for a request."""

    handler: str
    method: str
    arguments: dict[str, str]


class Routes:
    """All routes of all handlers."""

    def __init__(self, handlers: Mapping[str, type]) -> None:
        self._table: list[tuple[str, str, re.Pattern[str], str, str]] = []
        for handler, kind in handlers.items():
            for name, function in (item for base in kind.__mro__ for item in vars(base).items()):
                for method, template, host in getattr(function, "routes", ()):
                    pattern = _pattern(template.replace("{noun}", getattr(kind, "noun", "")))
                    self._table.append((method, host, pattern, handler, name))

    def find(self, method: str, host: str, path: str) -> Found | None:
        for its_method, its_host, pattern, handler, name in self._table:
            if (its_method, its_host) == (method, host) and (match := pattern.fullmatch(path)):
                return Found(handler, name, {key: unquote(value) for key, value in match.groupdict().items()})
        return None


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\*?\})", template)
    named = (re.escape(part) if part == "{ws}" or not part.startswith("{") else _group(part[1:-1]) for part in parts)
    return re.compile("".join(named))


def _group(name: str) -> str:
    return f"(?P<{name[:-1]}>.*)" if name.endswith("*") else f"(?P<{name}>[^/]+)"


def now() -> str:
    """The time as the service writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def paged(items: Iterable[Any], request: Request, page_size: int, token: str, link: str) -> dict[str, Any]:
    """A page of `items`: `token` is the query parameter that asks for a later one, `link` the reply's field that says where that is:
    a whole address for `nextLink`, else the token alone. No field says that it was the last, as the SDK's clients want it."""
    everything = list(items)
    first = int(request.asked(token, "0") or 0)
    page: dict[str, Any] = {"value": everything[first : first + page_size]}
    following = first + page_size
    if following < len(everything):
        page[link] = str(following)
        if link == "nextLink":
            subscription, group, name = request.workspace or ("", "", "")
            home = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{name}"
            query = urlencode(
                {key: values[0] for key, values in request.query.items() if key.lower() != token.lower()} | {token: following}
            )
            page[link] = f"https://{request.host}{request.path.replace('{ws}', home)}?{query}"
    return page
