"""The dashboard without a browser, in the workspace of the fixture `home`; runs that it shows, and its downloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlencode, urlsplit

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from starlette.applications import Starlette
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.testing.v1 import AppTest, app_test, local_script_runner

from pages._downloads import ROUTES
from pages._first_picture import SHOWN
from services.domain import Model, ModelCard, Run, RunRequest
from services.local import model_inspection
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from services.storage.store import Store
from tests.conftest import write_row
from tests.kept_runs import KeptRuns

SHELL = Path(__file__).parents[2] / "pages" / "shell.py"


@pytest.fixture(scope="session", autouse=True)
def _done_once() -> Iterator[None]:
    """What a dashboard does once, an AppTest does at each rerun: it reads the metadata of every installed package, in search of components,
    and compiles the pages. And it looks every millisecond whether its script has ended."""

    def wait(runner: local_script_runner.LocalScriptRunner, timeout: float) -> None:
        runner._script_thread.join(timeout)
        require_widgets_deltas(runner, 0.1)  # raises where it goes on

    compiled, require_widgets_deltas = ScriptCache(), local_script_runner.require_widgets_deltas
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        for module in (app_test, local_script_runner):
            patch.setattr(module, "ScriptCache", lambda: compiled)
        patch.setattr(local_script_runner, "require_widgets_deltas", wait)
        yield


@pytest.fixture
def open_page(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """`open_page("runs.py", run="...")` opens a page with query parameters, as a link to it would."""
    monkeypatch.setenv("BATCH_SCORING_HOME", str(home))

    def open_it(page: str = "home.py", /, **query: str) -> AppTest:
        app = AppTest.from_file(SHELL, default_timeout=120)
        app.session_state[SHOWN] = True  # what waits for rows that a browser has painted would wait for ever
        app.run()
        for name, value in query.items():
            app.query_params[name] = value
        return app if page == "home.py" and not query else app.switch_page(page).run()

    return open_it


@pytest.fixture(scope="session")
def look_at() -> Callable[[LocalWorkspace, Model], None]:
    """`look_at(workspace, model)` is `inspect_model`, whose process is started for the first test with this file."""
    known: dict[str, ModelCard | None] = {}

    def keep(workspace: LocalWorkspace, model: Model) -> None:
        store, source = Store(workspace.home), model_inspection.source(workspace.environment(None))
        if model.sha256 not in known:
            workspace.inspect_model(model.reference)
            known[model.sha256] = store.model_card(model.sha256, source)
        if card := known[model.sha256]:
            store.keep_model_card(model.sha256, source, card)

    return keep


INPUTS = ["age", "*bold* <b>in</b> =1+1", "x" * 300]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A model with these inputs, and the rows it was fitted to."""
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(20, len(INPUTS))), columns=INPUTS)
    path = tmp_path_factory.mktemp("trained") / "churn.joblib"
    joblib.dump(LogisticRegression().fit(rows, rows["age"] > 0), path)
    return path, rows


@pytest.fixture
def churn(workspace: LocalWorkspace, trained: tuple[Path, pd.DataFrame], look_at: Callable[[LocalWorkspace, Model], None]) -> Model:
    """The model churn:1 of `trained`, registered, approved and looked at."""
    model = workspace.register_model("churn", trained[0], approve=True)
    look_at(workspace, model)
    return model


VALUES = {"mini_batch_size": "2", "process_count_per_node": 1, "run_max_try": 1, "run_invocation_timeout": 600}


@pytest.fixture
def start(workspace: LocalWorkspace, csv_folder: Callable[..., Path], entry_script: Callable[..., Path]) -> Callable[..., Run]:
    """`start(source, files=10)` submits a run over `files` files, two per mini-batch."""

    def submit(source: str, files: int = 10, name: str = "", **settings: object) -> Run:
        if not workspace.datasets():
            workspace.register_dataset("d", csv_folder(files))
        request = RunRequest((), ("d",), str(entry_script(source)), ParallelRunSettings(**VALUES | settings), name=name)
        return workspace.submit(request)

    return submit


@pytest.fixture
def ended(kept_runs: KeptRuns, workspace: LocalWorkspace) -> Callable[..., Run]:
    """`ended(source, ...)` is what `start` of the same comes to in the end: a copy of the run, which is made for the first test."""

    def make(source: str, files: int = 10, name: str = "", **settings: object) -> Run:
        def submit(kept: LocalWorkspace, folder: Path) -> Run:
            (folder / "csv").mkdir()
            for number in range(files):
                write_row(folder / "csv", number)
            kept.register_dataset("d", folder / "csv")
            (folder / "script").mkdir()
            script = folder / "script" / "script.py"
            script.write_text(dedent(source), encoding="utf-8")
            return kept.submit(RunRequest((), ("d",), str(script), ParallelRunSettings(**VALUES | settings)))

        return kept_runs.copy_into(workspace, (source, files, sorted(settings.items())), submit, name)

    return make


@pytest.fixture
def ended_here(start: Callable[..., Run], finish: Callable[..., Run], workspace: LocalWorkspace) -> Callable[..., Run]:
    """`ended_here(source, ...)` is `start` to the end, where a copy won't do: its dataset is the test's own, or it has to end now."""
    return lambda *args, **kwargs: finish(workspace, start(*args, **kwargs).id)


@pytest.fixture
def get(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[int, dict[str, str], bytes]]:
    """`get(url)` requests a download route; returns status, headers and body."""
    monkeypatch.setenv("BATCH_SCORING_HOME", str(home))

    def request(url: str) -> tuple[int, dict[str, str], bytes]:
        path, query = urlsplit(url).path, urlsplit(url).query
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": f"/{path}", "raw_path": path.encode(), "query_string": query.encode(), "headers": [], "root_path": "",
        }  # fmt: skip
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        with ThreadPoolExecutor(1) as thread:  # a browser of another test file keeps an event loop in this one
            thread.submit(lambda: asyncio.run(Starlette(routes=ROUTES)(scope, receive, send))).result()
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])

    return request


@pytest.fixture
def download(get: Callable[[str], tuple[int, dict[str, str], bytes]]) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    """`download(run, "parquet", sort="File")` gets a run's predictions from the URL that the page makes."""
    return lambda run, ending="csv", **query: get(f"downloads/predictions.{ending}?{urlencode({'run': run.id} | query)}")
