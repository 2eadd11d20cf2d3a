"""New run: model, dataset, scoring script, settings, review, submit."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import (
    _environments,
    _errors,
    _fit,
    _given_values,
    _layout,
    _new_only,
    _run_drafts,
    _run_presets,
    _run_script,
    _run_settings,
    _schedules,
    _trial,
    _workspace,
)
from pages._forms import last_submission
from pages._run_form import IN_ADDRESS, NO_MODEL, RunForm, pairs_of, text_of, words_of
from pages._switching import switch_page
from pages._text import escape, local_time
from services.domain import ResourceKind, parse_reference
from services.errors import SettingsError, StudioError
from services.formats import counted
from services.preflight import Preflight, pairs
from services.scoring.pairing import propose
from services.scoring.scorers import scorer_at
from services.scoring.script_fit import check_script
from services.settings import TABLE, ParallelRunSettings
from services.storage.mini_batch_plan import describe
from services.workspace import Capability
from services.workspaces import chosen_workspace

RUNS_LOOKED_AT = 50  # for a model and a dataset that go together
LABELS = {"model": "Model", "dataset": "Dataset", "entry_script": "Scoring script", "arguments": "Arguments"}
LABELS |= {name: label for name, (label, _, _) in _fit.VALUES.items()} | {"environment": "Environment"}
LABELS |= {"inputs": "Columns", "keep": "Columns", "scorer": "Scoring script", "probabilities": "Probabilities", "top": "Top classes"}
LABELS |= {name: row.label for name, row in TABLE.items()} | {"compute_target": "Compute target"}
LABELS |= {"source_directory": "Source directory", "side_inputs": "Side inputs"}

workspace = chosen_workspace()
remote = workspace.remote
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
    fields[field] = form_place.container(border=True, key=f"section-{field}")
    fields[field].subheader(title, icon=f":material/counter_{number}:", anchor=False)
    return fields[field]


def choose(label: str, options: list[str], key: str, proposed: str | None) -> str | None:
    """One of the options, kept in the URL; at first the proposed one. Warns where the URL names one that does not exist."""
    value = st.query_params.get(key)
    if value and value not in options:
        st.warning(escape(f"“{value[:200]}” no longer exists. Choose another."), icon=":material/link_off:")
    if st.session_state.get(key, value) not in options and proposed in options:
        _given_values.propose({key: proposed})
    text = f"Choose a {label.lower()}"
    return st.selectbox(label, options, None, key=key, bind="query-params", label_visibility="collapsed", placeholder=text)


def chosen_already(key: str, options: Collection[str]) -> str | None:
    """What the session or the URL has for the widget `key`, where there is such an option."""
    value = st.session_state.get(key) or st.query_params.get(key)
    return value if value in options else None


def newest_version(reference: str) -> str | None:
    """The newest version of a dataset that is called as this one, which may be gone; None where there is none."""
    try:
        name, _ = parse_reference(reference, "dataset")
    except SettingsError:  # an address may hold anything
        return None
    versions = [known for known in datasets.values() if known.name == name]
    return max(versions, key=lambda known: known.version).reference if versions else None


def take_newest(newest: str) -> None:
    """Choose the newest version of the dataset, with the columns that were chosen for this one."""
    if chosen_model and dataset:
        _fit.carry_over(chosen_model, dataset.reference, newest)
    _given_values.choose({"dataset": newest})


def chosen_environment() -> str | None:
    """The reference of the environment that is chosen in the settings below, or will be."""
    return known_environments.get(st.session_state.get("environment") or st.query_params.get("environment", ""))


# ---- the page ------------------------------------------------------------------------------------------------------------------------

_layout.title("New run", "Score a dataset with a model and a scoring script.")
top = st.container(gap="small", key="about-the-form")
form_place, review = st.container(key="form_and_review").columns([5, 3], gap="medium")

with top:
    _run_drafts.arrive(workspace)  # a run in the address is also where the browser's Back goes after a submission
    like = _run_drafts.show_origin(workspace)
_given_values.apply()

models = {model.reference: model for model in workspace.models()}
datasets = {dataset.reference: dataset for dataset in workspace.datasets()}
scripts = {_workspace.script_label(script): script for script in workspace.scripts.all()}
like_label = _run_drafts.script_label(workspace, like) if like else ""
if like and like_label not in scripts:
    scripts |= _run_script.of_run(workspace, like, like_label)
known_environments = {str(environment): environment.reference for environment in workspace.environments()}
odd = dict(_run_drafts.about_address(_run_settings.offered(workspace)))
if "" in odd:
    _run_settings.note(top, odd[""])
more_models, more_datasets = _run_settings.further(models, datasets)
given_model, given_dataset = chosen_already("model", [*models, NO_MODEL]), chosen_already("dataset", datasets)
archived_models = _workspace.archived(ResourceKind.MODEL) - {given_model}
archived_datasets = _workspace.archived(ResourceKind.DATASET) - {given_dataset}
offered_models = {reference: known for reference, known in models.items() if reference not in archived_models}
offered_datasets = {reference: known for reference, known in datasets.items() if reference not in archived_datasets}
proposal = propose(
    workspace.runs.latest(RUNS_LOOKED_AT), list(offered_models.values()), list(offered_datasets.values()),
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
    chosen_model = choose("Model", [*offered_models, NO_MODEL], "model", NO_MODEL if without else proposal.model)
    model = models.get(chosen_model or "")
    _environments.follow_model(chosen_model, _run_settings.default_environment(workspace))
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
    in_address = st.query_params.get("dataset", "")
    if in_address and in_address not in datasets and (newest := newest_version(in_address)) and chosen_model:
        _fit.carry_over(chosen_model, in_address, newest)
    proposed = (in_address not in datasets and newest_version(in_address)) or proposal.dataset
    options = [*dict.fromkeys([*offered_datasets, *filter(None, [proposed])])]
    dataset = datasets.get(choose("Dataset", options, "dataset", proposed) or "") if datasets else None
    if model and datasets and dataset is None:
        st.caption(escape(f"No registered dataset fits {model} as far as is known. Choose one to see why, or register another."))
    if dataset:
        in_files = f" in {counted(dataset.file_count, 'file')}" if dataset.type == "tabular" else ""
        size = counted(dataset.item_count, dataset.item) + in_files if dataset.item_count else "not counted yet"
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(escape(f"{size} · {'in place: ' + dataset.root if dataset.in_place else 'copied'}"), width="content")
            if (newest := newest_version(dataset.reference)) and newest != dataset.reference:
                text = f"Use {escape(newest)}, the newest version"
                st.button(text, key="newest-dataset", type="tertiary", icon=":material/update:", on_click=take_newest, args=(newest,))

with section(3, "Scoring script", "entry_script"):
    recommended: Preflight | None = None
    if model and dataset:
        with at_its_field():
            recommended = _fit.look(workspace, model, dataset, "", chosen_environment(), more=(more_models, more_datasets))
    fitting = recommended.fit.scorer.path if recommended and recommended.fit.scorer else None
    labels = sorted(scripts, key=lambda label: Path(scripts[label].path) != fitting)  # the one that fits comes first
    by_path = {script.path: label for label, script in scripts.items()}
    proposed_script = by_path.get(proposal.entry_script or "") or next(iter(labels), None)
    if like:
        _run_script.offer_kept(workspace, like, scripts, like_label)
    script = _run_script.choose(
        scripts, labels, proposed_script, by_path.get(str(fitting)), recommended.fit.scorer if recommended else None
    )
    _run_drafts.name_in_address(
        model=chosen_model or "", dataset=dataset.reference if dataset else "", script=st.session_state.script or ""
    )
    scorer = scorer_at(script.path) if script else None
    as_written = scorer is not None and bool(st.session_state.get("as_written"))
    found = recommended
    if recommended and recommended.fit.scorer and model and dataset and scorer and scorer != recommended.fit.scorer:
        with at_its_field():
            found = _fit.look(workspace, model, dataset, scorer.name, chosen_environment(), more=(more_models, more_datasets))
    if scorer is None or as_written:
        found = None
    fields |= dict.fromkeys(("environment", "inputs", "keep", "probabilities", "scorer", "top", *_fit.VALUES), st.container(gap="small"))
    if found:
        _fit.show(workspace, found, chosen_environment(), fields["dataset"])
    elif as_written:
        _run_script.show_as_written()
    elif model and not datasets:
        st.caption("The one that fits the model and the dataset is chosen once there is a dataset.")
    elif script and script.docstring:
        st.caption(escape(script.docstring.strip().splitlines()[0][:300]))
    if script:
        _run_script.ask_approval(workspace, script)
    _run_script.ask_upload(workspace)
    if found:
        _fit.show_script(workspace, found)

with section(4, "Settings", "settings"):
    presets_place = st.container()
    compute_target = _run_settings.ask_compute_target(remote, fields, odd) if remote else None
    values = _run_settings.ask_up_front(fields, odd)
    with st.expander("More settings", icon=":material/tune:", expanded=bool(odd.keys() - {"", "compute_target"})):
        values |= _run_settings.ask_folded(fields, odd)
        environment = _run_settings.ask_environment(workspace, found.model.reference if found else None, odd.get("environment"))
        help_text = "Reuse the output of an earlier run with the same model, dataset, script and settings instead of scoring again."
        allow_reuse = st.toggle("Reuse an earlier run's output", value=True, key="allow_reuse", help=help_text, bind="query-params")
        _run_settings.note(st.container(), odd.get("allow_reuse"))
        _run_settings.ask_what_the_script_gets(fields)
        _run_settings.ask_further(models, datasets, (chosen_model, dataset.reference if dataset else None))

with review.container(border=True, key="section-review"):
    st.subheader("Review", icon=":material/counter_5:", anchor=False)
    notes = st.container(gap="small")
    st.text_input("Run name", key="run_name", max_chars=200, placeholder="optional", persist_state="session")
    unapproved = found is not None and not found.model.usable and Capability.APPROVAL in workspace.capabilities
    cannot_work = found is not None and (unapproved or not found.fit.fits)
    submitted = st.button("Submit run", type="primary", icon=":material/play_arrow:", width="stretch", key="submit", disabled=cannot_work)
    _given_values.draw_token()
    changed = submitted and not _given_values.may_submit()
    submitted = submitted and not changed
    again = st.container(gap="small")

form = RunForm(
    chosen_model or "",
    dataset.reference if dataset else "",
    st.session_state.get("script") or "",
    {name: value for name, value in values.items() if name in IN_ADDRESS and value != text_of(name, ParallelRunSettings.default(name))},
    environment or "",
    compute_target or "",
    allow_reuse,
    _run_drafts.private_part((model.reference, dataset.reference) if model and dataset else ()),
)
with top:
    _run_drafts.keep(workspace, form.private)
with presets_place:
    _run_presets.show(workspace, form)

valid: dict[str, Any] = {}
for field in values:
    with at_its_field():
        checked = form.setting(field)
        ParallelRunSettings.from_dict({field: checked})
        valid[field] = checked
settings = ParallelRunSettings.from_dict(valid)
with at_its_field():
    words_of(form.private.arguments)
with at_its_field():
    _run_settings.check_side_inputs(pairs_of("side_inputs", form.private.side_inputs), datasets)
scored = [datasets[reference] for reference in (form.dataset, *form.private.more_datasets) if reference in datasets]

submission = last_submission()
if not submitted and submission.is_recent and submission.run_id:
    switch_page("runs.py", query_params={"run": submission.run_id})

is_waiting = found is not None and found.fit.wants_environment and _environments.is_being_made(workspace, found.card)
problems = [problem for problem in found.fit.problems if not (is_waiting and problem.where == "environment")] if found else []
_fit.show_problems(problems, fields, fields["entry_script"])

with notes:
    if changed:
        st.warning("The form changed when you submitted it, and was not submitted. Check it, and submit again.", icon=":material/sync:")
    if dataset and not invalid:
        with at_its_field(), nullcontext() if all(known.item_count for known in scored) else st.spinner("Counting files…"):
            st.markdown(f"**{escape(describe(workspace.mini_batches(scored, settings), settings))}**")
    if environment:
        shown = workspace.environment(environment)
        st.caption(escape(f"By {shown.describe()}, Python {shown.python_version}."))
    if settings.error_threshold < 0:
        items = f"{dataset.item if dataset else 'item'}s"
        st.warning(f"Error threshold -1: the run continues however many {items} fail.", icon=":material/warning:")
    if not invalid and not cannot_work and (submitted or (dataset and script and chosen_model)):
        with at_its_field():
            request = form.to_request(script.path if script else "", found.fit.arguments if found else ())
            check_script(Path(request.entry_script), [model] if model else [], scored, request.arguments)
            ready = dataset and script and script.approved and (not model or model.usable)
            if submitted:
                if found and model and dataset:
                    _fit.keep_preset(workspace, model, dataset)
                run = submission.submit(workspace, request)
                _run_drafts.submitted(workspace, run)
                switch_page("runs.py", query_params={"run": run.id})
            elif ready and (warnings := workspace.check(request)):
                st.warning("\n\n".join(map(escape, warnings)), icon=":material/warning:")
            if ready:
                with again:
                    _new_only.offer(workspace, request)
                    _schedules.offer(workspace, request)
                with form_place:
                    _trial.show(workspace, request)
    unfit = [LABELS.get(problem.where, "Scoring script") for problem in problems]
    unfit += ["Model"] if unapproved else []
    if invalid or unfit:
        st.error(f"Fix these fields before submitting: {escape(', '.join(dict.fromkeys([*invalid, *unfit])))}.", icon=":material/error:")
    elif cannot_work and is_waiting:
        st.info("The environment is being made. The run can be submitted once it is there.", icon=":material/hourglass_top:")
