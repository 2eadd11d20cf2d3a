"""Routes that stream files to the browser: what is filtered on the results page, and the files as a run wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pages import _shared
from services.errors import NotFound, StudioError

_PART = 1 << 18


def file_name(*words: str, suffix: str) -> str:
    """A file name that says what is in it, good on every system: `digits on digits-batch 3 seven.csv`."""
    stem = re.sub(r"[^\w\-.,()+= ]+", " ", " ".join(words))
    return f"{' '.join(stem.split()).strip('. ')[:120] or 'predictions'}{suffix}"


def _streamed(parts: Iterator[bytes], name: str, media_type: str, length: int | None = None) -> StreamingResponse:
    """An attachment. `identity` keeps Streamlit from compressing it, which takes three times as long; the name is in RFC 5987's form."""
    headers = {
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='', errors='replace')}",
        "Content-Encoding": "identity",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    if length is not None:
        headers["Content-Length"] = str(length)
    return StreamingResponse(parts, headers=headers, media_type=media_type)


def _refused(error: StudioError) -> Response:
    text = f"{error.message}\n{error.hint}\n"
    return PlainTextResponse(text.encode("utf-8", "backslashreplace"), status_code=404 if isinstance(error, NotFound) else 400)


def predictions_csv(request: Request) -> Response:
    """GET /downloads/predictions.csv?run=ID&text=...&class=...&class=...: File and Prediction of what matches, or of everything."""
    asked = request.query_params
    text, classes = asked.get("text", ""), tuple(asked.getlist("class"))
    try:
        from services.predictions import Filter

        workspace = _shared.workspace()
        run = workspace.run(asked.get("run", ""))
        parts = workspace.predictions(run.id).csv(Filter(text=text, classes=classes))
    except StudioError as error:
        return _refused(error)
    return _streamed(parts, file_name(run.title, *classes[:5], text, suffix=".csv"), "text/csv")


def output_file(request: Request) -> Response:
    """GET /downloads/output?run=ID&name=parallel_run_step.txt: a file as the run wrote it. Only names that the run lists are served."""
    run_id = request.query_params.get("run", "")
    name = dict(parse_qsl(request.url.query, errors="surrogateescape")).get("name", "")  # it may hold bytes that are no UTF-8
    try:
        path = _shared.workspace().output(run_id).get(name)
        if path is None:
            raise NotFound(f"Run {run_id} has no output file “{name}”.", "Its page lists what there is.")
        length = path.stat().st_size
        parts = _parts(path, length)
    except StudioError as error:
        return _refused(error)
    except OSError as error:
        return _refused(NotFound(f"“{name}” can't be read: {error.strerror or error}."))
    return _streamed(parts, Path(name).name, "application/octet-stream", length)


def _parts(path: Path, length: int) -> Iterator[bytes]:
    """The first `length` bytes: a running run's file grows meanwhile. Opened at once, since it is moved when the run ends."""
    file = open(path, "rb")  # noqa: SIM115 - closed when all is read

    def read() -> Iterator[bytes]:
        with file:
            left = length
            while left and (part := file.read(min(_PART, left))):
                left -= len(part)
                yield part

    return read()


ROUTES = [
    Route("/downloads/predictions.csv", predictions_csv, methods=["GET"]),
    Route("/downloads/output", output_file, methods=["GET"]),
]
