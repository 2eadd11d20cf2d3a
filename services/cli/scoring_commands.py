"""The commands about what scores what: check, and run, which needs no script where a built-in scorer fits."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from services.cli import commands
from services.cli.output import Answer, note, safe, table
from services.domain import RunRequest
from services.errors import EntryScriptError, NotFound, NothingStarted, SettingsError, StudioError
from services.file_names import short
from services.preflight import Preflight, preflight, values_of
from services.scoring.column_matching import FitProblem, named_inputs
from services.scoring.presets import ON_OR_OFF
from services.scoring.scorers import NO_CHOICES, PROBABILITIES, SCORERS, ScorerOptions, scorer_at, split_input
from services.settings import TABLE, ParallelRunSettings
from services.workspace import Workspace


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the built-in scorers."""
    group = parser.add_argument_group("without --entry-script: options of the built-in scorer")
    group.add_argument("--scorer", metavar="NAME", help=f"one of {', '.join(SCORERS)} (default: the one that fits)")
    text = "which column is which input of the model; an input without a name is called by its number from 1; repeatable"
    group.add_argument("--input", dest="inputs", action="append", default=[], metavar="MODEL_INPUT=COLUMN", help=text)
    group.add_argument("--keep", action="append", default=[], metavar="COLUMN", help="have this column beside the prediction; repeatable")
    text = "prediction (the default): that of the prediction; all: of each class; off: none"
    group.add_argument("--probabilities", choices=PROBABILITIES, help=text)
    group.add_argument("--top", metavar="K", help="the K likeliest classes, with their probabilities")
    text = "on (the default) applies what was chosen for the model last; off neither applies nor keeps it. Another word is the name of"
    text += " settings that New run keeps: they apply, with a script too, where no option says otherwise"
    group.add_argument("--preset", metavar="on|off|NAME", default="on", help=text)


def check(workspace: Workspace, args: argparse.Namespace) -> Answer:
    """Whether a run with these options would work, before anything starts."""
    problems: list[FitProblem] = []
    found, warnings = None, []
    _apply_named_preset(workspace, args)
    try:
        request = None
        if _is_scored_by_a_script(workspace, args):
            request = request_of(workspace, args)
        else:
            found = _preflight(workspace, args)
            problems, warnings = list(found.fit.problems), list(found.fit.warnings)
            if found.fit.fits:
                request = _scored_by(found, args)
        if request:
            warnings += [warning for warning in workspace.check(request) if warning not in warnings]
    except (SettingsError, EntryScriptError, NotFound) as error:
        if found is None and not isinstance(error, EntryScriptError):
            raise
        problems.append(_problem(error))
    value = {
        "fits": not problems,
        "problems": [asdict(problem) for problem in problems],
        "scorer": found.fit.scorer.name if found and found.fit.scorer else None,
        "model": found.model.reference if found else next(iter(args.model), None),
        "datasets": [dataset.reference for dataset in found.datasets] if found else args.dataset,
        "columns": [asdict(match) for match in found.fit.columns] if found else [],
        "unused": list(found.fit.unused) if found else [],
        "warnings": warnings,
        "notes": [found.fit.extra] if found and found.fit.extra else [],
        "arguments": list(found.fit.arguments) if found else list(args.argument),
        "preset": _chosen(found.preset) if found else {},
    }
    return Answer(value, _lines(value, found), 0 if value["fits"] else 2)


def submit(workspace: Workspace, args: argparse.Namespace) -> Answer:
    request = replace(request_of(workspace, args, say=True), new_only=args.new_only)
    try:
        run = workspace.submit(request)
    except NothingStarted as nothing:
        return nothing_started(nothing)
    options = _options(args)
    if args.preset == "on" and options != NO_CHOICES and args.model and not _is_scored_by_a_script(workspace, args):
        name = workspace.model(args.model[0]).name
        workspace.presets.keep(name, options.over(workspace.presets.of(name)))
    return commands.submitted(workspace, run, args)


def nothing_started(nothing: NothingStarted) -> Answer:
    """No run was started, which is not an error: `id` is null, `status` NothingNew or StillRunning."""
    note(nothing.message, *filter(None, [nothing.hint]))
    return Answer({"id": None, "status": type(nothing).__name__, "items_total": 0, "message": nothing.message, **nothing.found}, [])


def request_of(workspace: Workspace, args: argparse.Namespace, *, say: bool = False) -> RunRequest:
    """The request of a run with these options: by the script that is named, else by the built-in scorer that fits. With `say`, what was
    decided goes to standard error. Raises SettingsError at the field of what can't work."""
    _apply_named_preset(workspace, args)
    if _is_scored_by_a_script(workspace, args):
        return _request(args, commands.entry_script(workspace, args.entry_script), tuple(args.argument))
    found = _preflight(workspace, args)
    found.fit.check()
    request = _scored_by(found, args)
    if say:
        note(*_decisions(found), *(f"Warning: {warning}" for warning in found.fit.warnings))
    return request


def _apply_named_preset(workspace: Workspace, args: argparse.Namespace) -> None:
    """Give the options that were left out what is kept under the name, where `--preset` names one. Raises NotFound."""
    if args.preset in ON_OR_OFF:
        return
    kept, args.preset = workspace.presets.named(args.preset), ON_OR_OFF[0]
    given = {name for name in TABLE if getattr(args, name) is not None}
    given |= {"mini_batch_size", "partition_keys"} if given & {"mini_batch_size", "partition_keys"} else set()  # one excludes the other
    for name, value in vars(kept.settings).items():
        if name not in given and value != ParallelRunSettings.default(name):
            setattr(args, name, [f"{key}={text}" for key, text in value.items()] if name == "environment_variables" else value)
    args.argument = args.argument or list(kept.arguments)
    for name in ("environment", "compute_target", "source_directory"):
        setattr(args, name, getattr(args, name) or getattr(kept, name))
    args.allow_reuse = args.allow_reuse if kept.allow_reuse else "off"
    args.side_input = [*(f"{name}={dataset}" for name, dataset in kept.side_inputs.items()), *args.side_input]


def _is_scored_by_a_script(workspace: Workspace, args: argparse.Namespace) -> bool:
    """Whether a script is named, other than a built-in one with options of its own. Raises SettingsError for options that no script of a
    person's own takes."""
    if not args.entry_script:
        return False
    if (options := _options(args)) == replace(NO_CHOICES, values=options.values):
        return True
    if scorer := scorer_at(Path(commands.entry_script(workspace, args.entry_script))):
        args.scorer, args.entry_script = args.scorer or scorer.name, None
        return False
    field = next(name for name in ("scorer", "inputs", "keep", "probabilities", "top") if getattr(options, name))
    option = {"inputs": "input"}.get(field, field)
    text = f"--{option} is for the built-in scorers, and {Path(args.entry_script).name} is a script of its own"
    raise SettingsError(field, text, f"Omit --entry-script, or pass it to the script: --argument=--{option}")


def _preflight(workspace: Workspace, args: argparse.Namespace) -> Preflight:
    def found() -> Preflight:
        options, use_preset = _options(args), args.preset == "on"
        return preflight(workspace, args.model, args.dataset, options, environment=args.environment, inspect=True, use_preset=use_preset)

    result = found()
    names = [item.name for item in named_inputs(result.card)]
    pairs = [split_input(text, names) for text in args.inputs]
    if pairs != [text.partition("=")[::2] for text in args.inputs]:  # an input may be called a=b, as one-hot columns are
        args.split_inputs = dict(pairs)
        result = found()
    return result


def _options(args: argparse.Namespace) -> ScorerOptions:
    if args.top is not None and not args.top.isdecimal():
        raise SettingsError("top", f"“{args.top}” is not a number of classes", "Give 1 or more, or leave it out.")
    inputs = getattr(args, "split_inputs", None) or commands.pairs("inputs", args.inputs)
    return ScorerOptions(
        args.scorer or "", inputs, tuple(args.keep), args.probabilities,
        int(args.top) if args.top is not None else None, values_of(args.argument),
    )  # fmt: skip


def _scored_by(found: Preflight, args: argparse.Namespace) -> RunRequest:
    assert found.fit.scorer
    typed = values_of(args.argument)
    arguments = replace(found.fit.options, values={k: v for k, v in found.fit.options.values.items() if k not in typed})
    return _request(args, str(found.fit.scorer.path), (*arguments.arguments(found.fit.scorer), *args.argument))


def _request(args: argparse.Namespace, entry_script: str, arguments: tuple[str, ...]) -> RunRequest:
    settings = {name: getattr(args, name) for name in TABLE if getattr(args, name) is not None}
    if args.environment_variables is not None:
        settings["environment_variables"] = commands.pairs("environment_variables", args.environment_variables)
    return RunRequest(
        models=tuple(args.model),
        datasets=tuple(args.dataset),
        entry_script=entry_script,
        settings=ParallelRunSettings.from_dict(settings),
        source_directory=args.source_directory,
        arguments=arguments,
        side_inputs=commands.pairs("side_inputs", args.side_input),
        environment=args.environment,
        compute_target=args.compute_target,
        allow_reuse=args.allow_reuse == "on",
        name=args.name,
    )


# ---- what is said ----------------------------------------------------------------------------------------------------------------


def _problem(error: StudioError) -> FitProblem:
    where = error.field if isinstance(error, SettingsError) else "entry_script"
    return FitProblem(where, error.message, error.hint)


def _chosen(options: ScorerOptions) -> dict[str, Any]:
    """What of the options was chosen."""
    values = {"inputs": dict(options.inputs), "keep": list(options.keep), "probabilities": options.probabilities, "top": options.top}
    return {name: value for name, value in {**values, "values": dict(options.values)}.items() if value not in (None, {}, [])}


def _decisions(found: Preflight) -> list[str]:
    assert found.fit.scorer
    lines = [f"Scorer: {found.fit.scorer} ({found.fit.scorer.title})"]
    if arguments := found.fit.arguments:
        lines[0] += f": {shlex.join(arguments)}"
    if _chosen(found.preset):
        kept = shlex.join(found.preset.arguments(found.fit.scorer)[:-2])
        lines.append(f"Applied what was chosen for {found.model.name} last: {kept} (--preset off leaves it out)" if kept else "")
    return [line for line in lines if line]


def _lines(value: dict[str, Any], found: Preflight | None) -> list[str]:
    lines = ["It fits." if value["fits"] else "It does not fit."]
    for problem in value["problems"]:
        lines += [f"{problem['where']}: {problem['what']}", *([f"  {problem['hint']}"] if problem["hint"] else [])]
    if found and found.fit.scorer:
        lines += _decisions(found)
    columns = [
        tuple(safe(short(match[name] or "")) or "–" for name in ("input", "type", "column", "by")) for match in value["columns"][:50]
    ]
    if columns:
        lines += table(("MODEL INPUT", "TYPE", "COLUMN", "MATCHED BY"), columns)
    if len(value["columns"]) > 50:
        lines.append(f"and {len(value['columns']) - 50:,} more")
    return [*lines, *value["notes"], *(f"Warning: {warning}" for warning in value["warnings"])]
