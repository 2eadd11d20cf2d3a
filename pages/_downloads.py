"""Routes that stream files to the browser: the filtered rows of the Results page, the output files of a run, and a run handed over."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pages import _errors, _workspace
from pages._text import sentence
from services.errors import NotFound, StudioError
from services.run_details import RowKey
from services.workspaces import chosen_workspace

logger = logging.getLogger(__name__)

_PART = 1 << 18


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
    _errors.log_unavailable(error)
    text = f"{sentence(error.message)}\n{error.hint}\n"
    return PlainTextResponse(text.encode("utf-8", "backslashreplace"), status_code=404 if isinstance(error, NotFound) else 400)


def predictions(request: Request) -> Response:
    """GET /downloads/predictions.ENDING?run=ID&filter=...&sort=...&beside=...&columns=all&safe=1: the filtered rows in their order.

    ENDING is `csv`, `parquet`, `xlsx`, or `json` for the provenance of that CSV file. `filter`, `sort`, `beside` and `columns` are as in
    the URL of the Results page.
    """
    query = request.query_params
    ending = Path(request.url.path).suffix
    try:
        from services.predictions import exports
        from services.predictions.filters import Filter, Order
        from services.predictions.provenance import provenance_file

        workspace = chosen_workspace()
        run = workspace.runs.get(query.get("run", ""))
        table = _workspace.joined_table(run.id, query.get("beside", ""))
        chosen, order = Filter.from_text(query.get("filter", "")), Order.from_text(query.get("sort", ""))
        columns = tuple(table.columns) if query.get("columns") == "all" else tuple(exports.shown_columns(table, chosen))
        annotations = workspace.annotations.annotations(run.id)
        stem = exports.file_stem(run.title, chosen, order)
        if ending == ".xlsx":
            path = exports.excel_file(table, chosen, order, columns, annotations)
            length = path.stat().st_size
            return _streamed(_parts(path, length), stem + ending, exports.MEDIA_TYPES[ending], length)
        format_ = ".csv" if ending == ".json" else ending
        parts = exports.export(format_, table, chosen, order, columns, safe=bool(query.get("safe")), annotations=annotations)
        if ending == ".json":
            digest = hashlib.sha256()
            for part in parts:
                digest.update(part)
            content = provenance_file(workspace.runs.provenance(run.id), table, chosen, order, columns, f"{stem}.csv", digest.hexdigest())
            return _streamed(iter([content]), f"{stem}.provenance.json", "application/json", len(content))
    except StudioError as error:
        return _refused(error)
    return _streamed(parts, stem + ending, exports.MEDIA_TYPES[ending])


def failures(request: Request) -> Response:
    """GET /downloads/failures.csv?run=ID: the failed items of a run, each with its cause, as the command `failures` writes them."""
    try:
        from services.predictions.exports import failed_items_as_csv, file_stem
        from services.predictions.failures import every_item
        from services.predictions.filters import EVERY_FAILURE

        runs = chosen_workspace().runs
        run = runs.get(request.query_params.get("run", ""))
        parts = failed_items_as_csv(every_item(lambda first, count: runs.failed_items(run.id, first=first, count=count)))
    except StudioError as error:
        return _refused(error)
    return _streamed(parts, f"{file_stem(run.title, EVERY_FAILURE)}.csv", "text/csv")


def reviewed(request: Request) -> Response:
    """GET /downloads/reviewed.csv?run=ID: the rows that a person gave a label, as a file of labels."""
    try:
        from services.predictions.exports import file_stem, rows_as_csv
        from services.predictions.filters import EVERY_PREDICTION
        from services.predictions.review import reviewed_rows

        workspace = chosen_workspace()
        run = workspace.runs.get(request.query_params.get("run", ""))
        names, rows = reviewed_rows(workspace.runs.predictions(run.id), workspace.annotations.annotations(run.id))
    except StudioError as error:
        return _refused(error)
    return _streamed(rows_as_csv(names, rows), f"{file_stem(run.title, EVERY_PREDICTION)} labels.csv", "text/csv")


def report(request: Request) -> Response:
    """GET /downloads/report.html?run=ID&filter=...: a run as one HTML page. An attachment: it is not to run where the dashboard does."""
    query = request.query_params
    try:
        from services.predictions.exports import file_stem
        from services.predictions.filters import Filter
        from services.report import report as report_of

        workspace = chosen_workspace()
        run, chosen = workspace.runs.get(query.get("run", "")), Filter.from_text(query.get("filter", ""))
        content = report_of(workspace, run.id, chosen)
    except StudioError as error:
        return _refused(error)
    return _streamed(iter([content]), f"{file_stem(run.title, chosen)} report.html", "text/html", len(content))


def export(request: Request) -> Response:
    """GET /downloads/export?run=ID&as=KIND&secrets=1: a run as code, as a notebook or as an archive; made before the first part comes."""
    query = request.query_params
    run_id = query.get("run", "")
    workspace = chosen_workspace()
    file = tempfile.TemporaryFile(dir=workspace.home / "incoming")  # noqa: SIM115 - closed after it was sent
    try:
        from services.handover import exports
        from services.report import report as report_of

        run = workspace.runs.get(run_id)
        kinds = [kind for kind in exports.ExportKind if kind == query.get("as")]
        if not kinds:
            raise NotFound("There is no such export.", "The run page lists them.")
        stem, ending = exports.file_stem(run, kinds[0]), exports.ENDINGS[kinds[0]]
        made = exports.export(
            workspace, run_id, kinds[0], file, stem + ending,
            report=lambda shown: report_of(workspace, run_id, request=shown), with_secrets=bool(query.get("secrets")),
        )  # fmt: skip
    except StudioError as error:
        file.close()
        return _refused(error)
    except BaseException:  # it is raised again
        file.close()
        raise
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    return _streamed(_sent(file), stem + made.ending, exports.MEDIA_TYPES[made.ending], length)


def _sent(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(_PART):
            yield part


def output_file(request: Request) -> Response:
    """GET /downloads/output?run=ID&name=parallel_run_step.txt: a file as the run wrote it. Serves only names that the run lists."""
    run_id = request.query_params.get("run", "")
    name = dict(parse_qsl(request.url.query, errors="surrogateescape")).get("name", "")  # it may hold bytes that are not UTF-8
    try:
        path = chosen_workspace().runs.output(run_id).get(name)
        if path is None:
            raise NotFound(f"Run {run_id} has no output file “{name}”.", "The run page lists its files.")
        length = path.stat().st_size
        parts = _parts(path, length)
    except StudioError as error:
        return _refused(error)
    except OSError as error:
        logger.warning("An output file can't be read", exc_info=error)
        return _refused(NotFound(f"Cannot read “{name}”: {error.strerror or error}."))
    return _streamed(parts, Path(name).name, "application/octet-stream", length)


def _parts(path: Path, length: int) -> Iterator[bytes]:
    """The first `length` bytes: the file of an active run grows. Opened at once, since it is moved when the run ends."""
    file = open(path, "rb")  # noqa: SIM115 - closed after reading

    def read() -> Iterator[bytes]:
        with file:
            left = length
            while left and (part := file.read(min(_PART, left))):
                left -= len(part)
                yield part

    return read()


def thumbnail(request: Request) -> Response:
    """GET /downloads/thumbnail?run=ID&file=NAME&mini_batch=N&worker=NAME&signature=...: a small picture of the file of a row, for a
    URL that the gallery made: no other file can be asked for. 422 with the reason where there is none."""
    query = request.query_params
    run_id, worker = query.get("run", ""), query.get("worker", "")
    number = query.get("mini_batch", "")
    key = RowKey(query.get("file", ""), int(number) if number.isascii() and number.isdecimal() and len(number) < 12 else 0, 0)
    if not hmac.compare_digest(query.get("signature", "").encode(), _signature(run_id, key, worker).encode()):
        return PlainTextResponse("This picture's URL is of an earlier start of the dashboard. Reload the page.\n", status_code=403)
    try:
        from services import thumbnails

        path = chosen_workspace().runs.input_file(run_id, key, worker)
        if path is None:
            raise NotFound("The file is not there any more.")
        content = thumbnails.thumbnail(path)
    except StudioError as error:
        refused = _refused(error)
        refused.status_code = 404 if isinstance(error, NotFound) else 422
        return refused
    headers = {"Cache-Control": "private, max-age=600", "X-Content-Type-Options": "nosniff", "Content-Encoding": "identity"}
    return Response(content, headers=headers, media_type=thumbnails.MEDIA_TYPE)


def thumbnail_url(run_id: str, key: RowKey, worker: str) -> str:
    """The URL of `thumbnail` for a row of the run's table."""
    values = {"run": run_id, "file": key.file, "mini_batch": key.mini_batch, "worker": worker}
    return f"downloads/thumbnail?{urlencode(values | {'signature': _signature(run_id, key, worker)})}"


_SECRET = secrets.token_bytes(32)


def _signature(run_id: str, key: RowKey, worker: str) -> str:
    text = "\0".join((run_id, str(key.mini_batch), worker, key.file))
    return hmac.new(_SECRET, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


ROUTES = [
    *(Route(f"/downloads/predictions.{ending}", predictions, methods=["GET"]) for ending in ("csv", "parquet", "xlsx", "json")),
    Route("/downloads/reviewed.csv", reviewed, methods=["GET"]),
    Route("/downloads/report.html", report, methods=["GET"]),
    Route("/downloads/export", export, methods=["GET"]),
    Route("/downloads/failures.csv", failures, methods=["GET"]),
    Route("/downloads/output", output_file, methods=["GET"]),
    Route("/downloads/thumbnail", thumbnail, methods=["GET"]),
]
