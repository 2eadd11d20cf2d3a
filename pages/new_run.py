"""New run: model, dataset, scoring script, settings, review, submit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _compute_options, _shared
from pages._shared import plain, script_label, shown
from pages._submission import last_submission
from services import PROGRAM
from services.domain import RunRequest
from services.errors import SettingsError, StudioError
from services.formats import counted
from services.settings import TABLE, ParallelRunSettings
from services.storage.mini_batch_plan import describe
from services.workspace import Capability

NO_MODEL = "No model"
OWN = "this program’s own"
LABELS = {"model": "Model", "dataset": "Dataset", "entry_script": "Scoring script", "arguments": "Arguments"} | {
    name: row.label for name, row in TABLE.items()
}
LABELS["compute_target"] = "Compute target"

workspace = _shared.workspace()
remote = workspace.remote
compute_target: str | None = None
fields: dict[str, DeltaGenerator] = {}
wrong: list[str] = []


@contextmanager
def at_its_field() -> Iterator[None]:
    """Show an error where it belongs, and note the field: the review says what keeps the run from being submitted."""
    with _shared.errors_at_their_fields(fields):
        try:
            yield
        except SettingsError as error:
            wrong.append(LABELS.get(error.field, error.field))
            raise


def section(number: int, title: str, field: str) -> DeltaGenerator:
    fields[field] = form.container(border=True, key=f"section-{field}")
    fields[field].subheader(title, icon=f":material/counter_{number}:", anchor=False)
    return fields[field]


def choose(label: str, options: list[str], key: str) -> str | None:
    """One of the options, kept in the URL. What the URL asks for and isn't there is said, never replaced in silence."""
    wanted = st.query_params.get(key)
    if wanted and wanted not in options:
        st.warning(plain(f"There is no “{wanted[:200]}” any more. Choose another."), icon=":material/link_off:")
    return st.selectbox(label, options, key=key, bind="query-params", label_visibility="collapsed")


def ask_approval(noun: str, warning: str, sha256: str) -> None:
    """Say what using this means, and name the content by its full SHA-256."""
    st.warning(f"{warning} Approve it only if you trust where it comes from.", icon=":material/gpp_maybe:")
    _shared.labelled("SHA-256 of what you approve", sha256)
    if st.button(f"Approve this {noun}", icon=":material/verified_user:", key=f"approve-{sha256}"):
        workspace.approve(sha256)
        st.rerun()


def take_script(uploader: str) -> None:
    """Keep what was uploaded and choose it. Runs before the page does, so it leaves an error for the page to show."""
    if upload := st.session_state[uploader]:
        try:
            st.session_state.script = script_label(workspace.scripts.add(upload.name, upload.getvalue()))
        except StudioError as error:
            st.session_state.upload_error = error


def variables(text: str | None) -> dict[str, str] | None:
    pairs: dict[str, str] = {}
    for number, line in enumerate((text or "").splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if line.strip() and not equals:
            raise SettingsError("environment_variables", f"line {number}, “{line.strip()[:100]}”, has no =", "Write NAME=value.")
        if line.strip():
            pairs[name.strip()] = value
    return pairs or None


def arguments(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise SettingsError("arguments", f"the arguments can't be read: {error}", "Close every quote.") from error


def setting(name: str) -> Any:
    """The widget of one setting. A number is typed as text: a number field would round it, or keep an older value, without a word."""
    words = ParallelRunSettings.widget(name) | {"persist_state": "session"}
    if name == "environment_variables":
        return st.text_area(height=68, **words)
    if TABLE[name].options:
        return st.selectbox(**words)
    value = words["value"]
    words = {key: word for key, word in words.items() if key not in ("min_value", "max_value", "step")}
    return st.text_input(**words | {"value": "" if value is None else str(value)})


def settings_side_by_side(names: list[str]) -> dict[str, Any]:
    """These settings in one row, and below it room for what is wrong with them."""
    given = {}
    for name, column in zip(names, st.columns(len(names)), strict=True):
        with column:
            given[name] = setting(name)
    fields.update(dict.fromkeys(names, st.container(gap="xsmall")))
    return given


def open_like(run_id: str) -> None:
    """Open this page again, with what a run was asked to do. Before the widgets are drawn."""
    request = workspace.runs.get(run_id).request
    offered = {script.path: script_label(script) for script in workspace.scripts.all()}
    chosen = {"model": next(iter(request.models), NO_MODEL), "dataset": request.datasets[0], "script": offered.get(request.entry_script)}
    st.switch_page("new_run.py", query_params={key: value for key, value in chosen.items() if value})


_shared.title("New run", "Score every file of a dataset with a model and a script.")
form, review = st.columns([5, 3], gap="medium")

if like := st.query_params.get("run"):  # also what the browser's Back leads to after a submission
    open_like(like)
for key, value in st.session_state.pop("chosen_for_new_run", {}).items():
    st.session_state[key] = value

models = {model.reference: model for model in workspace.models()}
with section(1, "Model", "model"):
    if not models and not _shared.known_later():
        st.info("No model is registered yet. A script that needs none can run all the same.", icon=":material/info:")
        words = "Register a model"
        st.page_link("registered_models.py", label=words, icon=":material/arrow_forward:", query_params={"tab": words})
    model = models.get(choose("Model", [*models, NO_MODEL], "model") or NO_MODEL)
    if model:
        st.caption(plain(f"{model.kind} · registered {_shared.local_time(model.created_at)}"))
    if model and not model.usable and Capability.APPROVAL in workspace.capabilities:
        imports = f" It imports {'' if model.scanned_whole else 'at least '}{', '.join(model.imports[:20])}." if model.imports else ""
        ask_approval("model", plain(f"{model} is a program, {model.kind}: a run executes it with your rights.{imports}"), model.sha256)

datasets = {dataset.reference: dataset for dataset in workspace.datasets()}
with section(2, "Dataset", "dataset"):
    if not datasets and not _shared.known_later():
        st.info("No dataset is registered yet: it says which files to score.", icon=":material/info:")
        words = "Register a dataset"
        st.page_link("registered_datasets.py", label=words, icon=":material/arrow_forward:", query_params={"tab": words})
    dataset = datasets.get(choose("Dataset", list(datasets), "dataset") or "") if datasets else None
    if dataset:
        in_files = f" in {counted(dataset.file_count, 'file')}" if dataset.type == "tabular" else ""
        size = counted(dataset.item_count, dataset.item) + in_files if dataset.item_count else "not counted yet"
        st.caption(plain(f"{size} · {'in place: ' + dataset.root if dataset.in_place else 'copied in'}"))

scripts = {script_label(script): script for script in workspace.scripts.all()}
with section(3, "Scoring script", "entry_script"):
    script = scripts.get(choose("Scoring script", list(scripts), "script") or "")
    if script and script.docstring:
        st.caption(plain(script.docstring.strip().splitlines()[0][:300]))
    if script and not script.approved and Capability.APPROVAL in workspace.capabilities:
        with st.expander("What it does", expanded=True, icon=":material/code:"):
            st.code(shown(Path(script.path).read_text("utf-8", errors="replace")), language="python", height=260)
        ask_approval("script", plain(f"{script.name} is a program: a run executes it with your rights. Read it first."), script.sha256)
    with st.expander("Upload a script", icon=":material/upload:"):
        st.file_uploader(
            "A Python file with init() and run(mini_batch). It is checked, not executed.",
            type="py",
            key="uploaded_script",
            on_change=take_script,
            args=("uploaded_script",),
        )
        if "upload_error" in st.session_state:
            _shared.show_error(st.session_state.pop("upload_error"))

with section(4, "Settings", "settings"):
    if remote:
        compute_target = _compute_options.choose_compute_target(remote, fields)
    values = settings_side_by_side([name for name, row in TABLE.items() if row.up_front])
    with st.expander("More settings", icon=":material/tune:"):
        folded = [name for name, row in TABLE.items() if not row.up_front]
        for first in range(0, len(folded), 2):
            values |= settings_side_by_side(folded[first : first + 2])
        interpreters = {str(environment): environment for environment in workspace.environments()}
        words = f"The Python that runs the workers. Others are registered by: {PROGRAM} environment register NAME PYTHON"
        own = _compute_options.MADE_FOR_IT if remote else OWN
        chosen = st.selectbox("Environment", [own, *interpreters], key="environment", help=words, persist_state="session")
        if remote:
            _compute_options.show_environment(remote, interpreters.get(chosen))
        words = "Take the output of an earlier run that was asked the same, instead of scoring again."
        allow_reuse = st.toggle("Reuse an earlier run's output", value=True, key="allow_reuse", help=words, persist_state="session")
        words = "What the scoring script finds in sys.argv, written as on a command line: --name value."
        line = st.text_input("Arguments", key="arguments", help=words, placeholder="none", persist_state="session")
        fields["arguments"] = st.container()

good: dict[str, Any] = {}
for field, value in values.items():
    with at_its_field():
        checked = variables(value) if field == "environment_variables" else value
        ParallelRunSettings.from_dict({field: checked})
        good[field] = checked
settings = ParallelRunSettings.from_dict(good)

with review.container(border=True, key="section-review"):
    st.subheader("Review", icon=":material/counter_5:", anchor=False)
    notes = st.container(gap="small")
    name = st.text_input("Run name", key="run_name", max_chars=200, placeholder="optional", persist_state="session")
    submitted = st.button("Submit run", type="primary", icon=":material/play_arrow:", width="stretch", key="submit")

submission = last_submission()
if not submitted and submission.is_recent and submission.run_id:
    st.switch_page("runs.py", query_params={"run": submission.run_id})

with notes:
    if dataset and not wrong:
        with at_its_field(), nullcontext() if dataset.item_count else st.spinner("Counting its files …"):
            st.markdown(f"**{plain(describe(workspace.mini_batches([dataset], settings), settings))}**")
    if settings.error_threshold < 0:
        items = f"{dataset.item if dataset else 'item'}s"
        st.warning(f"Error threshold -1: the run goes on however many {items} fail.", icon=":material/warning:")
    if submitted or (dataset and script):
        with at_its_field():
            request = RunRequest(
                models=(model.reference,) if model else (),
                datasets=(dataset.reference,) if dataset else (),
                entry_script=script.path if script else "",
                settings=settings,
                arguments=arguments(line or ""),
                environment=interpreters[chosen].reference if chosen in interpreters else None,
                compute_target=compute_target,
                allow_reuse=allow_reuse,
                name=(name or "").strip(),
            )
            ready = not wrong and dataset and script and script.approved and (not model or model.usable)
            if submitted and not wrong:
                run = submission.submit(workspace, request)
                st.switch_page("runs.py", query_params={"run": run.id})
            elif ready and (sentences := workspace.check(request)):
                st.warning("\n\n".join(map(plain, sentences)), icon=":material/warning:")
    if wrong:
        st.error(f"Nothing can be submitted before this is mended: {plain(', '.join(wrong))}.", icon=":material/error:")
