"""New run: model, dataset, scoring script, settings, review, submit."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _environments, _errors, _fit, _layout, _trial, _workspace
from pages._forms import last_submission
from pages._switching import switch_page
from pages._text import displayable, escape, local_time, truncate
from services.domain import EntryScript, Environment, RunRequest
from services.errors import SettingsError, StudioError
from services.file_names import safe_relative_path
from services.formats import counted
from services.intake import uploads
from services.intake.staging import staging_folder
from services.preflight import Preflight, pairs
from services.scoring.pairing import propose
from services.scoring.scorers import scorer_at
from services.scoring.script_fit import check_script
from services.settings import TABLE, ParallelRunSettings
from services.storage.mini_batch_plan import describe
from services.workspace import Capability, RemoteWorkspace
from services.workspaces import chosen_workspace

NO_MODEL = "No model"
RUNS_LOOKED_AT = 50  # for a model and a dataset that go together
OWN, MADE_FOR_IT = "this program's own", "made for the run"
LABELS = {"model": "Model", "dataset": "Dataset", "entry_script": "Scoring script", "arguments": "Arguments"}
LABELS |= {name: label for name, (label, _, _) in _fit.VALUES.items()} | {"environment": "Environment"}
LABELS |= {"inputs": "Columns", "keep": "Columns", "scorer": "Scoring script", "probabilities": "Probabilities", "top": "Top classes"}
LABELS |= {name: row.label for name, row in TABLE.items()} | {"compute_target": "Compute target"}

workspace = chosen_workspace()
remote = workspace.remote
compute_target: str | None = None
fields: dict[str, DeltaGenerator] = {}
invalid: list[str] = []


@contextmanager
def at_its_field() -> Iterator[None]:
    """Show a SettingsError at its field, and note the field for the review; any other StudioError here."""
    try:
        yield
    except SettingsError as error:
        invalid.append(LABELS.get(error.field, error.field))
        _errors.show(error, fields.get(error.field))
    except StudioError as error:
        _errors.show(error)


def section(number: int, title: str, field: str) -> DeltaGenerator:
    fields[field] = form.container(border=True, key=f"section-{field}")
    fields[field].subheader(title, icon=f":material/counter_{number}:", anchor=False)
    return fields[field]


def choose(label: str, options: list[str], key: str, proposed: str | None) -> str | None:
    """One of the options, kept in the URL; at first the proposed one. Warns where the URL names one that does not exist."""
    propose_option(options, key, proposed)
    text = f"Choose a {label.lower()}"
    return st.selectbox(label, options, None, key=key, bind="query-params", label_visibility="collapsed", placeholder=text)


def propose_option(options: list[str], key: str, proposed: str | None) -> None:
    """Choose the proposed option unless another one is chosen by the session or the URL."""
    value = st.query_params.get(key)
    if value and value not in options:
        st.warning(escape(f"“{value[:200]}” no longer exists. Choose another."), icon=":material/link_off:")
    if st.session_state.get(key, value) not in options and proposed in options:
        st.session_state[key] = proposed


def choose_script(labels: list[str], proposed: str | None, fitting: str | None) -> EntryScript | None:
    """The scoring script; the built-in one that fits takes the place of another that was proposed before, but not of one that a person
    chose. In the URL by its label: a widget that is bound to the URL would have what it shows there."""
    proposed_before = st.session_state.get("proposed_script")
    is_own = proposed_before not in scripts or scorer_at(scripts[proposed_before].path) is None
    if fitting and not is_own and st.session_state.get("script") == proposed_before:
        st.session_state.script = st.session_state.proposed_script = fitting
    if st.session_state.get("script", st.query_params.get("script")) not in labels:
        st.session_state.proposed_script = proposed
    propose_option(labels, "script", proposed)
    if "script" not in st.session_state:
        st.session_state.script = st.query_params.get("script")
    text = "Choose a scoring script"
    chosen = st.selectbox(
        "Scoring script", labels, None, key="script", format_func=script_title, label_visibility="collapsed", placeholder=text
    )
    if chosen and st.query_params.get("script") != chosen:
        st.query_params["script"] = chosen
    return scripts.get(chosen or "")


def chosen_already(key: str, options: Collection[str]) -> str | None:
    """What the session or the URL has for the widget `key`, where there is such an option."""
    value = st.session_state.get(key) or st.query_params.get(key)
    return value if value in options else None


def store_script() -> None:
    """Store the uploaded script and choose it. Runs before the page does, so it leaves an error for the page to show."""
    if upload := st.session_state.uploaded_script:
        try:
            st.session_state.script = _workspace.script_label(workspace.scripts.add(upload.name, upload.getvalue()))
        except StudioError as error:
            st.session_state.upload_error = error


def variables(text: str | None) -> dict[str, str] | None:
    pairs: dict[str, str] = {}
    for number, line in enumerate((text or "").splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if line.strip() and not equals:
            raise SettingsError("environment_variables", f"Line {number}, “{line.strip()[:100]}”, has no =", "Write NAME=value.")
        if line.strip():
            pairs[name.strip()] = value
    return pairs or None


def arguments(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise SettingsError("arguments", f"The arguments can't be parsed: {error}", "Close every quote.") from error


def setting(name: str) -> Any:
    """The widget of one setting. A number is typed as text: a number field would round it, or keep an older value, silently."""
    options = ParallelRunSettings.widget(name) | {"persist_state": "session"}
    if name == "environment_variables":
        return st.text_area(height=68, **options)
    if TABLE[name].options:
        return st.selectbox(**options)
    value = options["value"]
    options = {key: option for key, option in options.items() if key not in ("min_value", "max_value", "step")}
    return st.text_input(**options | {"value": "" if value is None else str(value)})


def settings_side_by_side(names: list[str]) -> dict[str, Any]:
    """These settings in one row, and a place for their errors below it."""
    values = {}
    for name, column in zip(names, st.columns(len(names)), strict=True):
        with column:
            values[name] = setting(name)
    fields.update(dict.fromkeys(names, st.container(gap="xsmall")))
    return values


def choose_compute_target(remote: RemoteWorkspace) -> str | None:
    """A usable compute target. Errors of the field `compute_target` go below it."""
    targets = {target.name: target for target in remote.compute_targets() if target.usable}
    help_text = "The cluster that executes the run, on as many nodes as Node count says."
    chosen = st.selectbox(
        "Compute target", list(targets), key="compute_target", help=help_text, bind="query-params", placeholder="no clusters found",
    )  # fmt: skip
    if chosen:
        st.caption(escape(targets[chosen].describe()))
    fields["compute_target"] = st.container(gap="xsmall")
    return chosen


def show_environment(remote: RemoteWorkspace, environment: Environment) -> None:
    """The interpreter and packages of the run; and a way to register others."""
    pins = ", ".join(f"{name} {number}".strip() for name, number in environment.packages.items()) or "the packages of its image"
    python = f"Python {environment.python_version}" if environment.python_version else environment.interpreter
    st.caption(escape(f"{python} with {truncate(pins, 400)}"))
    with st.popover("From a conda file", icon=":material/upload:"):
        name = st.text_input("Name", key="environment_name", placeholder="batch-env", on_change="ignore")
        upload = st.file_uploader("Conda file", type=["yml", "yaml"], key="environment_file", on_change="ignore")
        if st.button("Register environment", key="register-environment", icon=":material/add:"):
            if upload is None:
                st.error("Choose a conda file first.")
                return
            try:
                with st.spinner("Registering…"), staging_folder(remote.home) as folder:
                    uploads.store_uploads([(upload.name, upload)], folder)
                    registered = remote.register_environment(name.strip(), str(folder / safe_relative_path(upload.name)))
            except StudioError as error:
                _errors.show(error)
            else:
                st.toast(f"Registered **{escape(str(registered))}**. Choose it above.", icon=":material/check_circle:")
                st.rerun()


def chosen_environment() -> str | None:
    """The reference of the environment that is chosen in the settings below, or will be."""
    known = {str(environment): environment.reference for environment in workspace.environments()}
    return known.get(st.session_state.get("environment") or "")


def script_title(label: str) -> str:
    """What a script is called in the list: a built-in one by what it scores."""
    scorer = scorer_at(scripts[label].path)
    if scorer is None:
        return label
    fits = recommended is not None and recommended.fit.scorer == scorer
    return f"Built-in: {scorer.title}" + (" (recommended)" if fits else f" · {label}")


def open_like(run_id: str) -> None:
    """Open this page again with the request of a run. To be called before the widgets are drawn."""
    request = workspace.runs.get(run_id).request
    offered = {script.path: _workspace.script_label(script) for script in workspace.scripts.all()}
    chosen = {"model": next(iter(request.models), NO_MODEL), "dataset": request.datasets[0], "script": offered.get(request.entry_script)}
    switch_page("new_run.py", query_params={key: value for key, value in chosen.items() if value})


_layout.title("New run", "Score a dataset with a model and a scoring script.")
form, review = st.container(key="form_and_review").columns([5, 3], gap="medium")

if like := st.query_params.get("run"):  # also where the browser's Back goes after a submission
    open_like(like)
for key, value in st.session_state.pop("choices_for_new_run", {}).items():
    st.session_state[key] = value

models = {model.reference: model for model in workspace.models()}
datasets = {dataset.reference: dataset for dataset in workspace.datasets()}
scripts = {_workspace.script_label(script): script for script in workspace.scripts.all()}
given_model, given_dataset = chosen_already("model", [*models, NO_MODEL]), chosen_already("dataset", datasets)
proposal = propose(
    workspace.runs.latest(RUNS_LOOKED_AT), list(models.values()), list(datasets.values()),
    pairs(workspace), model="" if given_model == NO_MODEL else given_model, dataset=given_dataset,
)  # fmt: skip
with section(1, "Model", "model"):
    none_registered = not models and not _workspace.not_listed_yet()
    if none_registered:
        st.info("No models registered yet. A script that needs no model can run without.", icon=":material/info:")
        label = "Register a model"
        st.page_link("registered_models.py", label=label, icon=":material/arrow_forward:", query_params={"tab": label})
    # The script of a run without a model may not be on offer: the built-in one, chosen in its place, needs one.
    without = none_registered or (proposal.model == "" and proposal.entry_script in {script.path for script in scripts.values()})
    chosen_model = choose("Model", [*models, NO_MODEL], "model", NO_MODEL if without else proposal.model)
    model = models.get(chosen_model or "")
    _environments.follow_model(chosen_model, MADE_FOR_IT if remote else OWN)
    if model:
        st.caption(escape(f"{model.kind} · registered {local_time(model.created_at)}"))
    if model and not model.usable and Capability.APPROVAL in workspace.capabilities:
        imports = f" It imports {'' if model.scanned_whole else 'at least '}{', '.join(model.imports[:20])}." if model.imports else ""
        warning = f"{model} ({model.kind}) can run code: a run executes it with your permissions.{imports}"
        _workspace.ask_approval(escape(warning), model.sha256, "Approve this model")

with section(2, "Dataset", "dataset"):
    if not datasets and not _workspace.not_listed_yet():
        st.info("No datasets registered yet. A dataset lists the files to score.", icon=":material/info:")
        label = "Register a dataset"
        st.page_link("registered_datasets.py", label=label, icon=":material/arrow_forward:", query_params={"tab": label})
    dataset = datasets.get(choose("Dataset", list(datasets), "dataset", proposal.dataset) or "") if datasets else None
    if model and datasets and dataset is None:
        st.caption(escape(f"No registered dataset fits {model} as far as is known. Choose one to see why, or register another."))
    if dataset:
        in_files = f" in {counted(dataset.file_count, 'file')}" if dataset.type == "tabular" else ""
        size = counted(dataset.item_count, dataset.item) + in_files if dataset.item_count else "not counted yet"
        st.caption(escape(f"{size} · {'in place: ' + dataset.root if dataset.in_place else 'copied'}"))

with section(3, "Scoring script", "entry_script"):
    recommended: Preflight | None = None
    if model and dataset:
        with at_its_field():
            recommended = _fit.look(workspace, model, dataset, "", chosen_environment())
    fitting = recommended.fit.scorer.path if recommended and recommended.fit.scorer else None
    labels = sorted(scripts, key=lambda label: Path(scripts[label].path) != fitting)  # the one that fits comes first
    by_path = {script.path: label for label, script in scripts.items()}
    proposed_script = by_path.get(proposal.entry_script or "") or next(iter(labels), None)
    script = choose_script(labels, proposed_script, by_path.get(str(fitting)))
    scorer = scorer_at(script.path) if script else None
    found = recommended
    if recommended and recommended.fit.scorer and model and dataset and scorer and scorer != recommended.fit.scorer:
        with at_its_field():
            found = _fit.look(workspace, model, dataset, scorer.name, chosen_environment())
    if scorer is None:
        found = None
    fields |= dict.fromkeys(("environment", "inputs", "keep", "probabilities", "scorer", "top", *_fit.VALUES), st.container(gap="small"))
    if found:
        _fit.show(workspace, found, chosen_environment(), fields["dataset"])
    elif model and not datasets:
        st.caption("The one that fits the model and the dataset is chosen once there is a dataset.")
    elif script and script.docstring:
        st.caption(escape(script.docstring.strip().splitlines()[0][:300]))
    if script and not script.approved and Capability.APPROVAL in workspace.capabilities:
        with st.expander("Source", expanded=True, icon=":material/code:"):
            st.code(displayable(Path(script.path).read_text("utf-8", errors="replace")), language="python", height=260)
        warning = escape(f"A run executes {script.name} with your permissions. Read it first.")
        _workspace.ask_approval(warning, script.sha256, "Approve this script")
    with st.expander("Upload a script", icon=":material/upload:"):
        text = "Python file with init() and run(mini_batch); checked, not executed"
        st.file_uploader(text, type="py", key="uploaded_script", on_change=store_script)
        if "upload_error" in st.session_state:
            _errors.show(st.session_state.pop("upload_error"))
    if found:
        _fit.show_script(workspace, found)

with section(4, "Settings", "settings"):
    if remote:
        compute_target = choose_compute_target(remote)
    values = settings_side_by_side([name for name, row in TABLE.items() if row.up_front])
    with st.expander("More settings", icon=":material/tune:"):
        folded = [name for name, row in TABLE.items() if not row.up_front]
        for first in range(0, len(folded), 2):
            values |= settings_side_by_side(folded[first : first + 2])
        interpreters = {str(environment): environment for environment in workspace.environments()}
        help_text = "The Python that runs the workers. Make others on the Connection page."
        default = MADE_FOR_IT if remote else OWN
        chosen = st.selectbox("Environment", [default, *interpreters], key="environment", help=help_text, persist_state="session")
        if remote:
            scored = found.model.reference if found else None
            show_environment(remote, interpreters.get(chosen) or workspace.environment(None, scored_model=scored))
        help_text = "Reuse the output of an earlier run with the same model, dataset, script and settings instead of scoring again."
        allow_reuse = st.toggle("Reuse an earlier run's output", value=True, key="allow_reuse", help=help_text, persist_state="session")
        help_text = "Passed to the scoring script in sys.argv, written as on a command line: --name value."
        line = st.text_input("Arguments", key="arguments", help=help_text, placeholder="none", persist_state="session")
        fields["arguments"] = st.container()

valid: dict[str, Any] = {}
for field, value in values.items():
    with at_its_field():
        checked = variables(value) if field == "environment_variables" else value
        ParallelRunSettings.from_dict({field: checked})
        valid[field] = checked
settings = ParallelRunSettings.from_dict(valid)

with review.container(border=True, key="section-review"):
    st.subheader("Review", icon=":material/counter_5:", anchor=False)
    notes = st.container(gap="small")
    name = st.text_input("Run name", key="run_name", max_chars=200, placeholder="optional", persist_state="session")
    unapproved = found is not None and not found.model.usable and Capability.APPROVAL in workspace.capabilities
    cannot_work = found is not None and (unapproved or not found.fit.fits)
    submitted = st.button("Submit run", type="primary", icon=":material/play_arrow:", width="stretch", key="submit", disabled=cannot_work)

submission = last_submission()
if not submitted and submission.is_recent and submission.run_id:
    switch_page("runs.py", query_params={"run": submission.run_id})

is_waiting = found is not None and found.fit.wants_environment and _environments.is_being_made(workspace, found.card)
problems = [problem for problem in found.fit.problems if not (is_waiting and problem.where == "environment")] if found else []
_fit.show_problems(problems, fields, fields["entry_script"])

with notes:
    if dataset and not invalid:
        with at_its_field(), nullcontext() if dataset.item_count else st.spinner("Counting files…"):
            st.markdown(f"**{escape(describe(workspace.mini_batches([dataset], settings), settings))}**")
    if chosen in interpreters:
        st.caption(escape(f"By {interpreters[chosen].describe()}, Python {interpreters[chosen].python_version}."))
    if settings.error_threshold < 0:
        items = f"{dataset.item if dataset else 'item'}s"
        st.warning(f"Error threshold -1: the run continues however many {items} fail.", icon=":material/warning:")
    if not cannot_work and (submitted or (dataset and script and chosen_model)):
        with at_its_field():
            if not chosen_model:
                raise SettingsError("model", "No model is chosen", f"Choose one, or “{NO_MODEL}” for a script that needs none.")
            request = RunRequest(
                models=(model.reference,) if model else (),
                datasets=(dataset.reference,) if dataset else (),
                entry_script=script.path if script else "",
                settings=settings,
                arguments=(*(found.fit.arguments if found else ()), *arguments(line or "")),
                environment=interpreters[chosen].reference if chosen in interpreters else None,
                compute_target=compute_target,
                allow_reuse=allow_reuse,
                name=(name or "").strip(),
            )
            check_script(Path(request.entry_script), [model] if model else [], [dataset] if dataset else [], request.arguments)
            ready = not invalid and dataset and script and script.approved and (not model or model.usable)
            if submitted and not invalid and not cannot_work:
                if found and model and dataset:
                    _fit.keep_preset(workspace, model, dataset)
                run = submission.submit(workspace, request)
                switch_page("runs.py", query_params={"run": run.id})
            elif ready and (warnings := workspace.check(request)):
                st.warning("\n\n".join(map(escape, warnings)), icon=":material/warning:")
            if ready:
                with form:
                    _trial.show(workspace, request)
    unfit = [LABELS.get(problem.where, "Scoring script") for problem in problems]
    unfit += ["Model"] if unapproved else []
    if invalid or unfit:
        st.error(f"Fix these fields before submitting: {escape(', '.join(dict.fromkeys([*invalid, *unfit])))}.", icon=":material/error:")
    elif cannot_work and is_waiting:
        st.info("The environment is being made. The run can be submitted once it is there.", icon=":material/hourglass_top:")
