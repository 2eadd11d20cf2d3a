"""`make screenshots`: the pictures in the README, taken of the real dashboard on a workspace made for it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Page, expect

from benchmarks.azure_pages import full_azure_home
from services.azure.workspace import AzureWorkspace
from services.connection import from_environment
from services.domain import RunRequest
from services.intake.entry_scripts import BUILT_IN
from services.local.workspace import LocalWorkspace
from services.predictions.filters import EVERY_FAILURE, Condition, Filter, Operator
from services.sample import make_sample
from services.settings import ParallelRunSettings
from tests.azure_service import AzureService
from tests.broken_files import train_model, write_files
from tests.browser.dashboard import browser, dashboard, settled

FOLDER = Path(__file__).with_name("screenshots")
SIZE = {"width": 1360, "height": 980}


def main() -> None:
    os.environ.setdefault("TZ", "UTC")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        home = Path(folder) / "demo"
        home.mkdir()
        with dashboard(home) as server:
            page = chromium.new_context(viewport=SIZE, color_scheme="light").new_page()
            page.goto(server.address)
            _take(page, "home_empty", "Batch Scoring Studio")
            workspace = LocalWorkspace(home)
            sample = make_sample(workspace.home)
            failed, slow = _runs(workspace, sample.model, sample.dataset, Path(folder))
            page.goto(server.url)
            _take(page, "home", "Batch Scoring Studio")
            page.goto(f"{server.url}/models?model={sample.model}")
            _take(page, "models", "Models")
            page.goto(f"{server.url}/datasets?dataset={sample.dataset}")
            _take(page, "datasets", "Datasets")
            page.goto(f"{server.url}/new_run?model={sample.model}&dataset={sample.dataset}")
            _take(page, "new_run", "New run")
            page.goto(f"{server.url}/runs")
            _take(page, "runs", "Runs")
            page.goto(f"{server.url}/runs?run={slow}")
            _take(page, "run_live", "Nightly batch")
            workspace.runs.cancel(slow)
            _wait(workspace, slow, ended=True)
            page.goto(f"{server.url}/runs?run={failed}")
            _take(page, "run_failed", "Stricter columns")
            page.goto(f"{server.url}/results?run={workspace.runs.latest()[-1].id}")
            _take(page, "results", "Results")
            _by_looking(page, server.url, workspace, Path(folder))
            page.goto(f"{server.url}/results?run={workspace.runs.latest()[-1].id}&row=5")
            _take(page, "results_row", "Results")
            done = workspace.runs.latest()[-1]
            labels = _labels(workspace, done.id, Path(folder))
            page.goto(f"{server.url}/results?run={done.id}&look=Evaluation&beside=labels:{labels}")
            _take(page, "results_labels", "Results")
            again = workspace.submit(
                RunRequest(done.request.models, done.request.datasets, str(_unsure(Path(folder))), name="Digits, unsure")
            )
            _wait(workspace, again.id, ended=True)
            page.goto(f"{server.url}/runs?run={done.id}&view=Lineage")
            _take(page, "lineage", done.title)
            page.goto(f"{server.url}/compare?run={again.id}&with={done.id}")
            _take(page, "compare", "Compare")
            orders = _orders(workspace, Path(folder))
            page.goto(f"{server.url}/runs?run={orders}")
            _take(page, "run_failures", "Orders of November")
            chosen = EVERY_FAILURE.to_text()
            page.goto(f"{server.url}/results?{urlencode({'run': orders, 'filter': chosen})}")
            _take(page, "results_failures", "Results")
            page.goto(f"{server.url}/connection")
            _take(page, "connection", "Connection")
            page.goto(f"{server.url}/storage")
            expect(page.get_by_text("By kind")).to_be_visible()
            _take(page, "storage", "Storage")
            _without_a_script(page, server.url, workspace, Path(folder))
            dark = chromium.new_context(viewport=SIZE, color_scheme="dark").new_page()
            server.admit(dark.context)
            dark.goto(f"{server.url}/results?run={workspace.runs.latest()[-1].id}")
            _take(dark, "results_dark", "Results")
    azure()


def _without_a_script(page: Page, url: str, workspace: LocalWorkspace, folder: Path) -> None:
    """A pipeline that wants named columns and a CSV with semicolons: the model's card, the data as they come in, the two beside each other,
    and a few rows tried."""
    model, table = _churn(folder)
    registered = workspace.register_model("churn", model, approve=True)
    workspace.inspect_model(registered.reference)
    page.goto(f"{url}/models?model={registered.reference}")
    _take(page, "model_card", "Models")
    page.goto(f"{url}/datasets?{urlencode({'tab': 'Register a dataset'})}")
    page.locator("input[type=file]").set_input_files(table)
    expect(page.get_by_text("Each row of this file is one item").first).to_be_visible()
    _take(page, "dataset_proposal", "Datasets")
    dataset = workspace.register_dataset("customers", table, type="auto")
    page.goto(f"{url}/new_run?model={registered.reference}&dataset={dataset.reference}")
    _take(page, "new_run_columns", "New run")
    page.get_by_role("button", name="Try", exact=True).click()
    expect(page.get_by_text("for 20,000 rows").first).to_be_visible()
    page.get_by_role("heading", name="Try first").evaluate("heading => heading.scrollIntoView()")
    _take(page, "try_first", "New run")


def _churn(folder: Path) -> tuple[Path, Path]:
    """A classifier of customers that are about to leave, and a table of customers."""
    import joblib
    import numpy
    import pandas
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    random = numpy.random.default_rng(0)
    table = pandas.DataFrame(
        {
            "customer": [f"C-{number:05}" for number in range(20_000)],
            "age": random.integers(18, 90, 20_000),
            "plan": random.choice(["basic", "plus", "family"], 20_000),
            "monthly": random.normal(45, 15, 20_000).round(2).clip(5),
            "zip": [f"{number:05}" for number in random.integers(501, 99_950, 20_000)],
        }
    )
    leaves = numpy.where((table.monthly > 50) & (table.plan != "family") & (random.random(20_000) < 0.9), "leaves", "stays")
    columns = make_column_transformer((StandardScaler(), ["age", "monthly"]), (OneHotEncoder(handle_unknown="ignore"), ["plan"]))
    joblib.dump(make_pipeline(columns, LogisticRegression()).fit(table[["age", "plan", "monthly"]], leaves), folder / "churn.joblib")
    table.to_csv(folder / "customers.csv", sep=";", decimal=",", index=False)
    return folder / "churn.joblib", folder / "customers.csv"


def azure() -> None:
    """The pages in an Azure ML workspace, which the stand-in plays."""
    with tempfile.TemporaryDirectory() as folder, AzureService(Path(folder) / "service", sample=True) as service, browser() as chromium:
        os.environ.update(service.environment())
        home = Path(folder) / "demo"
        workspace = AzureWorkspace(from_environment(), full_azure_home(home), blocking=True)
        with dashboard(home) as server:
            page = chromium.new_context(viewport=SIZE, color_scheme="light").new_page()
            server.admit(page.context)
            page.goto(f"{server.url}/connection")
            expect(page.get_by_text("Signed in.", exact=True)).to_be_visible(timeout=120_000)
            expect(page.get_by_text("Lists as of just now")).to_be_visible(timeout=120_000)
            _take(page, "azure_connection", "Connection")
            page.goto(f"{server.url}/new_run")
            _take(page, "azure_new_run", "New run")
            page.goto(f"{server.url}/runs?run={workspace.runs.latest()[0].id}")
            _take(page, "azure_run", workspace.runs.latest()[0].title)


def _runs(workspace: LocalWorkspace, model: str, dataset: str, folder: Path) -> tuple[str, str]:
    """A completed, a failed and a running run; the ids of the last two."""
    built_in = str(BUILT_IN / "batch_scoring_script.py")
    done = workspace.submit(RunRequest((model,), (dataset,), built_in, ParallelRunSettings(mini_batch_size=5), name="Digits, first try"))
    _wait(workspace, done.id, ended=True)
    broken = folder / "strict_script.py"
    broken.write_text("def run(mini_batch):\n    raise ValueError('expected 65 columns, found 64')\n")
    failed = workspace.submit(RunRequest((), (dataset,), str(broken), ParallelRunSettings(run_max_try=1), name="Stricter columns"))
    _wait(workspace, failed.id, ended=True)
    blocking = folder / "patient_script.py"
    blocking.write_text(
        "import os, time\ndef run(mini_batch):\n    time.sleep(1.5)\n    return [os.path.basename(f) + ': 1' for f in mini_batch]\n"
    )
    slow = workspace.submit(RunRequest((), (dataset,), str(blocking), ParallelRunSettings(), name="Nightly batch"))
    _wait(workspace, slow.id, ended=False)
    return failed.id, slow.id


def _orders(workspace: LocalWorkspace, folder: Path) -> str:
    """A run over 500 files, of which seven are broken in seven ways; its id."""
    model = workspace.register_model("orders-classifier", train_model(folder / "orders.joblib"), approve=True)
    dataset = workspace.register_dataset("orders", write_files(folder / "orders"), copy=True)
    script = str(BUILT_IN / "batch_scoring_script.py")
    run = workspace.submit(RunRequest((model.reference,), (dataset.reference,), script, name="Orders of November"))
    _wait(workspace, run.id, ended=True)
    return run.id


def _by_looking(page: Page, url: str, workspace: LocalWorkspace, folder: Path) -> None:
    """Results by looking: a range of scores that is brushed, scores by class, and a gallery, each in a window that has room for it."""
    shapes = _shapes(workspace, folder)
    chosen = Filter(conditions=(Condition("probability", Operator.FROM, ("0.5",)), Condition("probability", Operator.TO, ("0.75",))))
    page.set_viewport_size({"width": 1920, "height": 980})
    query = {"run": shapes, "x": "probability", "filter": chosen.to_text()}
    for name, chart in (("results_brushed", "Distribution"), ("results_scores", "Score by class"), ("results_gallery", "Gallery")):
        page.goto(f"{url}/results?{urlencode(query | {'chart': chart})}")
        _take(page, name, "Results")
    page.set_viewport_size(SIZE)
    page.goto(f"{url}/results?{urlencode({'run': shapes, 'look': 'Review'})}")
    _take(page, "results_review", "Results")


def _shapes(workspace: LocalWorkspace, folder: Path) -> str:
    """A run over 600 drawings of shapes, with a label and a probability of each; its id."""
    import numpy
    from PIL import Image, ImageDraw

    random, images = numpy.random.default_rng(1), folder / "shapes"
    images.mkdir()
    for number in range(600):
        image = Image.new("RGB", (160, 120), tuple(random.integers(150, 255, 3).tolist()))
        draw, ink = ImageDraw.Draw(image), tuple(random.integers(0, 120, 3).tolist())
        left, top = random.integers(10, 60, 2).tolist()
        corners = [(left, top + 50), (left + 30, top), (left + 60, top + 50)]
        (
            draw.ellipse((left, top, left + 60, top + 50), fill=ink) if number % 3 == 0
            else draw.rectangle((left, top, left + 60, top + 50), fill=ink) if number % 3 == 1 else draw.polygon(corners, fill=ink)
        )  # fmt: skip
        (images / f"batch_{number % 4}").mkdir(exist_ok=True)
        image.save(images / f"batch_{number % 4}" / f"shape_{number:03}.png")
    script = folder / "shapes_script.py"
    script.write_text(
        "import json, os, random\ndef run(mini_batch):\n    rows = []\n    for path in mini_batch:\n"
        "        number = int(os.path.basename(path)[6:9]); score = random.Random(number).betavariate(6 - 2 * (number % 3), 2)\n"
        "        label = ('circle', 'rectangle', 'triangle')[number % 3]\n"
        "        rows.append(json.dumps({'file': os.path.basename(path), 'label': label, 'probability': round(score, 3)}))\n"
        "    return rows\n"
    )
    dataset = workspace.register_dataset("shapes", images)
    run = workspace.submit(RunRequest((), (dataset.reference,), str(script), ParallelRunSettings(mini_batch_size=100), name="Shapes"))
    _wait(workspace, run.id, ended=True)
    return run.id


def _labels(workspace: LocalWorkspace, run_id: str, folder: Path) -> str:
    """Labels that agree with most of a run's predictions; their id."""
    table = workspace.runs.predictions(run_id)
    rows = table.page(count=2000).to_pylist()
    labels = folder / "digits_truth.csv"
    lines = (f"{row['File']},{row['Prediction'] if number % 17 else '8'}" for number, row in enumerate(rows))
    labels.write_text("file,label\n" + "\n".join(lines) + "\n")
    return workspace.add_labels(workspace.runs.get(run_id).request.datasets[0], labels).id


def _unsure(folder: Path) -> Path:
    """A script that says the same as the built-in one would of most files."""
    script = folder / "unsure_script.py"
    script.write_text("import os\ndef run(mini_batch): return [os.path.basename(f) + ': ' + str(len(f) * 7 % 10) for f in mini_batch]\n")
    return script


def _wait(workspace: LocalWorkspace, run_id: str, *, ended: bool) -> None:
    while not (workspace.runs.get(run_id).status.ended if ended else (workspace.runs.get(run_id).items_succeeded or 0) > 150):
        time.sleep(0.1)


def _take(page: Page, name: str, heading: str) -> None:
    expect(settled(page).get_by_role("heading", name=heading, exact=True).first).to_be_visible()
    page.wait_for_timeout(1200)  # charts draw themselves in
    page.screenshot(path=FOLDER / f"{name}.png")
    print(FOLDER / f"{name}.png", flush=True)


if __name__ == "__main__":
    main()
