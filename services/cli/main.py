"""The command line's parser and its exit codes. `python -m services --help`."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn

from services import PROGRAM, environment_variables, log
from services.cli import (
    commands,
    dataset_commands,
    environment_commands,
    handover_commands,
    label_commands,
    log_commands,
    model_commands,
    replay_commands,
    resource_commands,
    schedule_commands,
    scoring_commands,
    storage_commands,
    trial_commands,
)
from services.cli import remote_commands as remote
from services.cli.output import Answer, error_lines, error_value, note, stdout_writable
from services.cli.storage_commands import limited, warned
from services.domain import EXPERIMENT, ResourceKind
from services.errors import SettingsError, StudioError, WorkspaceUnavailable
from services.remote import WEEK_DAYS, Frequency
from services.run_query import RUN_COLUMNS
from services.settings import PIPELINE_PARAMETERS, TABLE, ParallelRunSettings
from services.storage.file_tree import path_given
from services.workspaces import WORKSPACES, default_home, open_workspace

logger = logging.getLogger(__name__)

_CLOSED_PIPE = 141  # as shells report a program ended by SIGPIPE

_EXIT_CODES = """\
exit code:
  0  success; with --wait: the run Completed. show succeeds whatever the run's status
  1  --wait: the run ended otherwise, or has no active runner
  2  invalid input: a wrong value, something that does not exist, an unusable file or script
  3  the workspace is unavailable
With --json, standard output is exactly one JSON object, {"error": {...}} for an error.
"""


class UsageError(StudioError):
    """You: the command line can't be parsed."""


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of exiting, and accepts no abbreviations: they break when an option is added."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"See {self.prog} --help")


def _with_program_options(parser: argparse.ArgumentParser, *, outermost: bool = False) -> None:
    """The options allowed before or after any command. Only the outermost parser has defaults: others would overwrite it."""

    def add(flag: str, default: object, **more: Any) -> None:
        parser.add_argument(flag, default=default if outermost else argparse.SUPPRESS, **more)

    add("--workspace", "local", choices=WORKSPACES, help=f"{WORKSPACES[0]} (the default), {' or '.join(WORKSPACES[1:])}")
    add("--home", None, metavar="DIR", help="the data folder (default: BATCH_SCORING_HOME, else the user data folder)")
    add("--json", False, action="store_true", help="print exactly one JSON object on standard output")


@cache  # its eighty parsers take longer to make than most commands to carry out
def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="Batch predictions on this machine, and on Azure ML.", epilog=_EXIT_CODES)
    _with_program_options(parser, outermost=True)
    top = parser.add_subparsers(metavar="COMMAND", required=True)

    def group(name: str, text: str) -> Any:
        group_parser = top.add_parser(name, help=text, description=text)
        _with_program_options(group_parser)
        return group_parser.add_subparsers(metavar="COMMAND", required=True)

    def command(of: Any, name: str, function: Callable[..., Answer], text: str, *positional: str) -> argparse.ArgumentParser:
        command_parser: argparse.ArgumentParser = of.add_parser(name, help=text, description=text, epilog=_EXIT_CODES)
        _with_program_options(command_parser)
        command_parser.set_defaults(command=function)
        for argument in positional:
            command_parser.add_argument(argument.lower(), metavar=argument)
        return command_parser

    def on_azure(of: Any, name: str, function: Callable[..., Answer], text: str, *positional: str) -> argparse.ArgumentParser:
        return command(of, name, function, f"{text} On Azure ML only.", *positional)

    def with_description(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--description", default="", metavar="T")

    def with_tags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tag", action="append", default=[], metavar="K=V", help="repeatable")

    def with_archived(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        parser.add_argument("--archived", action="store_true", help="also what is archived")
        return parser

    def with_parameters(parser: argparse.ArgumentParser) -> None:
        names = ", ".join(PIPELINE_PARAMETERS)
        parser.add_argument("--parameter", action="append", default=[], metavar="K=V", help=f"other values of {names}; repeatable")

    models = group("model", "Register, list, approve and delete models.")
    text = "Register a file or folder as the next version of a model."
    add = command(models, "register", warned(commands.register_model), text, "NAME", "PATH")
    with_description(add)
    with_tags(add)
    add.add_argument("--approve", action="store_true", help="approve its SHA-256 at once, for a model that can run code")
    with_archived(command(models, "list", commands.list_models, "List all versions of all models."))
    add = command(models, "approve", commands.approve_model, "Approve a model that can run code, so that runs may use it.")
    add.add_argument("model", metavar="NAME:V")
    add = command(
        models, "inspect", model_commands.inspect_model, "Show what a model is: its inputs, classes, versions. Loads it where needed."
    )
    add.add_argument("model", metavar="NAME[:V]")
    add.add_argument("--environment", metavar="NAME[:V]", help="the one to load it in (default: this program's own)")
    text = "Register a file or folder of a training run's outputs as the next version of a model."
    add = on_azure(models, "register-from-run", remote.register_model_from_run, text, "NAME", "EXPERIMENT", "RUN", "PATH")
    with_description(add)
    with_tags(add)
    resource_commands.add_commands(command, models, ResourceKind.MODEL)

    experiments = group("experiment", "The experiments of Azure ML and their training runs, to register a model from.")
    on_azure(experiments, "list", remote.list_experiments, "List the experiments.")
    on_azure(experiments, "runs", remote.list_training_runs, "List the training runs of an experiment, the newest first.", "EXPERIMENT")
    on_azure(experiments, "files", remote.list_training_run_files, "List the files of a training run's outputs.", "EXPERIMENT", "RUN")

    datasets = group("dataset", "Register, list and show datasets.")
    text = "Register the files of a folder, in place, or of an archive; tables that are not plain CSV or Parquet are made Parquet."
    dataset_commands.add_options(command(datasets, "register", warned(dataset_commands.register_dataset), text, "NAME", "PATH"))
    with_archived(command(datasets, "list", dataset_commands.list_datasets, "List all versions of all datasets."))
    text = "Show what a dataset is: its columns and their types, how it was read, and which of its files are odd."
    command(datasets, "show", dataset_commands.show_dataset, text).add_argument("dataset", metavar="NAME[:V]")

    resource_commands.add_commands(command, datasets, ResourceKind.DATASET)

    text = "Keep the true labels of a dataset: a CSV or Parquet file, or a column of its own. Every run over it is judged by them."
    add = command(top, "labels", label_commands.labels, text)
    add.add_argument("dataset", metavar="NAME[:V]")
    label_commands.add_options(add)
    text = "Compare the runs over a dataset by its labels: accuracy, F1 (the mean over the classes), MAE, RMSE, seconds, node hours."
    add = command(top, "leaderboard", label_commands.leaderboard, text)
    add.add_argument("dataset", metavar="NAME[:V]")
    add.add_argument("--labels", default="", metavar="ID", help="which of its labels (default: those given last)")

    environments = group("environment", "Register, create, list and delete environments.")
    text = "Register a Python interpreter, 3.8 or newer; on Azure ML a conda file."
    command(environments, "register", environment_commands.register_environment, text, "NAME", "PYTHON")
    text = "Make an environment from a list of packages. Wheels only; names and versions only."
    _with_requirements(command(environments, "create", warned(environment_commands.create_environment), text, "NAME"))
    text = "List the environments, and the disk they use."
    with_archived(command(environments, "list", environment_commands.list_environments, text))
    resource_commands.add_commands(command, environments, ResourceKind.ENVIRONMENT)
    add = environments.choices["delete"]
    add.set_defaults(command=environment_commands.delete_environment)
    add.add_argument("--unused-for", type=int, metavar="DAYS", help="those that no run used for so many days; named first, and not deleted")

    pipelines = group("pipeline", "Publish runs as pipelines of Azure ML, and run these again.")
    add = on_azure(pipelines, "publish", remote.publish, "Publish what a run submitted, as a pipeline of its own.", "RUN")
    add.add_argument("--name", required=True, metavar="T")
    with_description(add)
    on_azure(pipelines, "list", remote.list_pipelines, "List the published pipelines.")
    add = on_azure(pipelines, "run", remote.run_pipeline, "Run a published pipeline, with other values of its parameters.", "PIPELINE")
    with_parameters(add)
    add.add_argument("--name", default="", metavar="T", help="a title for the run")
    _with_wait(add)
    add = on_azure(pipelines, "history", remote.history, "List the pipeline runs of an experiment, whoever started them.")
    add.add_argument("--experiment", default=EXPERIMENT, metavar="E", help="default: %(default)s")
    text = "Take a pipeline run of that list as a run here, whoever started it: its logs, its output, its predictions."
    add = on_azure(pipelines, "follow", remote.follow, text, "PIPELINE_RUN")
    add.add_argument("--experiment", default=EXPERIMENT, metavar="E", help="default: %(default)s")
    _with_wait(add)
    for verb, active in (("enable", True), ("disable", False)):
        text = f"{verb.capitalize()} a published pipeline."
        on_azure(pipelines, verb, remote.set_pipeline, text, "PIPELINE").set_defaults(active=active)

    schedules = group("schedule", "Run something again by the clock.")
    text = "Keep a run's options under a name, and say what to give the system's own scheduler, or on Azure ML schedule it there."
    add = command(schedules, "add", schedule_commands.add, text)
    add.add_argument("name_of_schedule", metavar="NAME")
    words = "daily, hourly, weekly, monthly, or cron's five fields, such as '30 6 * * mon-fri'; in UTC on Azure ML"
    add.add_argument("--every", required=True, metavar="WHEN", help=words)
    _with_new_only(add)
    _with_request(add, wait=False)
    command(
        schedules, "list", schedule_commands.list_schedules, "List the schedules: when each runs next, and the outcome of its last start."
    )
    command(schedules, "show", schedule_commands.show, "Show again what to give the system's scheduler for a schedule.", "NAME")
    text = "Forget a schedule of this machine; on Azure ML disable it."
    command(schedules, "remove", schedule_commands.remove, text, "NAME")
    text = "Start a schedule now, as the system's scheduler does, unless its last run has not ended; resume that where it lost its runner."
    _with_wait(command(schedules, "run", schedule_commands.start, text, "NAME"))
    add = on_azure(schedules, "create", remote.create_schedule, "Run a published pipeline by the clock.", "PIPELINE")
    add.add_argument("--name", required=True, metavar="T")
    add.add_argument("--every", required=True, choices=[frequency.lower() for frequency in Frequency])
    add.add_argument("--interval", default="1", metavar="N", help="every N of them (default: 1)")
    add.add_argument("--at", default="", metavar="HH:MM", help="the time of day in UTC, of days and weeks")
    add.add_argument("--on", action="append", default=[], choices=WEEK_DAYS, help="the day, of weeks; repeatable")
    with_parameters(add)
    for verb, active in (("enable", True), ("disable", False)):
        text = f"{verb.capitalize()} a schedule."
        on_azure(schedules, verb, remote.set_schedule, text, "SCHEDULE").set_defaults(active=active)

    command(top, "sample", commands.make_sample, "Make and register a sample: a classifier of handwritten digits, and files to score.")
    text = "Say whether a run would work and which built-in scorer fits, before anything starts. Exit 0 where it fits, 2 where not."
    _with_request(command(top, "check", limited(scoring_commands.check), text), wait=False)
    text = "Score datasets: submit a run, by a script or the built-in scorer that fits."
    add = command(top, "run", limited(scoring_commands.submit), text)
    _with_new_only(add)
    _with_request(add)
    text = "Score some items first, as a run would: their rows, what they cost, how long the run takes, better settings. Nothing is kept."
    add = command(top, "try", trial_commands.try_items, text)
    trial_commands.add_options(add)
    _with_request(add, wait=False)
    add = command(top, "runs", commands.list_runs, "List the runs, the pinned ones and then the newest first.")
    text = (
        "which runs, in the words of SQL, such as \"status = 'Failed' AND tags['season'] = 'june'\"; times are UTC, duration is in seconds"
    )
    add.add_argument("--where", metavar="CONDITION", help=f"{text}. Columns: {', '.join(RUN_COLUMNS)}")
    add.add_argument("--limit", type=_count, default=1000, metavar="N", help="how many at most (default: %(default)s)")
    with_archived(add)
    resource_commands.add_commands(command, add.add_subparsers(metavar="COMMAND"), ResourceKind.RUN)
    command(top, "show", commands.show, "Show the state of a run.", "RUN")
    command(top, "cancel", commands.cancel, "Cancel a run.", "RUN")
    command(top, "resume", commands.resume, "Continue a run that did not complete.", "RUN")
    add = command(top, "rerun", limited(commands.rerun), "Submit a run's request again, as a new run.", "RUN")
    only = "score only failed and unprocessed items; the predictions are the old run's with these replaced"
    add.add_argument("--failed-only", action="store_true", help=only)
    _with_wait(add)
    add = command(top, "failures", commands.failures, "List a run's failed items, each with its cause.", "RUN")
    add.add_argument("--by-cause", action="store_true", help="the causes instead, with the number of items of each")
    add.add_argument("--to", metavar="FILE.csv", help="write them as CSV: item, cause, mini_batch, attempt, worker; - is standard output")
    add.add_argument("--safe", action="store_true", help="in the CSV, put a ' before what a spreadsheet would take for a formula")
    text = "Score one mini-batch of a run again by itself, as the run did, and show what it returns and prints. Nothing is kept."
    add = command(top, "replay", replay_commands.replay, text, "RUN")
    add.add_argument("mini_batch", metavar="MINI_BATCH", help="its number in the table; the first is 0")
    text = "Print a run's log files, the last 1 MB of each; or search the lines of all of them, and follow them live."
    log_commands.add_options(command(top, "logs", log_commands.logs, text, "RUN"))
    add = command(top, "output", commands.copy_output, "Copy the files as the run wrote them: parallel_run_step.txt", "RUN")
    add.add_argument("--to", required=True, metavar="DIR", help="created if missing")
    add = command(top, "predictions", commands.predictions, "Write a run's predictions as CSV, Parquet or Excel: File, Prediction.", "RUN")
    add.add_argument("--to", required=True, metavar="FILE", help="FILE.csv, FILE.parquet or FILE.xlsx; - is standard output, as CSV")
    add.add_argument("--where", default="", metavar="SQL", help="which rows, such as \"Prediction = '7'\"")
    text = "Write a run as one HTML page: settings, pictures, causes of failures, first rows, provenance."
    add = command(top, "report", commands.report, text, "RUN")
    add.add_argument("--to", required=True, metavar="FILE.html", help="- is standard output")
    text = "Write a run as one file to hand over: code that does it again, a notebook of its predictions, or an archive of all of it."
    handover_commands.add_export_options(command(top, "export", handover_commands.export_run, text, "RUN"))
    text = "Show what takes disk in the data folder, by kind and name, and what can go; set a limit that is warned of."
    storage_commands.add_options(command(top, "storage", storage_commands.storage, text))
    text = "Take in the archive of a run that was exported in another home. Nothing in it is executed or approved."
    command(top, "import", handover_commands.import_run, text, "PATH")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 1,000,000")
    return int(text)


def _with_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait for the end; progress on standard error. Ctrl-C does not stop the run")


def _with_new_only(parser: argparse.ArgumentParser) -> None:
    text = "score what the same model, script, arguments and environment have not scored yet: reads the dataset's folder again, as its next"
    parser.add_argument("--new-only", action="store_true", help=f"{text} version; the predictions hold all. Without news no run starts")


def _with_requirements(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    lists = parser.add_mutually_exclusive_group(required=True)
    lists.add_argument("--requirements", metavar="FILE", help="a requirements.txt")
    lists.add_argument("--conda", metavar="FILE", help="a conda file: its pip part, its Python version, and what pip has too")
    lists.add_argument("--package", action="append", default=[], metavar="P", help="such as scikit-learn==1.3.2; repeatable")
    lists.add_argument("--for-model", metavar="NAME[:V]", help="what the model needs, and what the built-in scorers need")
    add("--python", metavar="V", help="a version that is on this machine, such as 3.11, or an interpreter's path")
    add("--approve", action="store_true", help="approve the list, which is printed without it; what is typed by --package needs none")
    add("--allow-build", action="append", default=[], metavar="P", help="may be built from source, which runs its code; repeatable")
    add("--allow-large", action="store_true", help="download more than 500 MB")


def _with_request(parser: argparse.ArgumentParser, *, wait: bool = True) -> None:
    add = parser.add_argument
    add("--dataset", action="append", required=True, metavar="NAME[:V]", help="what to score; repeatable")
    add("--model", action="append", default=[], metavar="NAME[:V]", help="repeatable; without a version, the latest")
    text = "the scoring script; or a built-in one by name: batch_scoring_script (default: the built-in scorer that fits)"
    add("--entry-script", metavar="PATH", help=text)
    add("--source-directory", metavar="DIR", help="the folder of the script's modules (default: the script's own)")
    add("--environment", metavar="NAME[:V]", help="a registered one (default: this program's own; on Azure ML, one made for the run)")
    add("--compute-target", metavar="NAME", help="the cluster on Azure ML; not used by the local workspace")
    add("--argument", action="append", default=[], metavar="A", help="for the script; write --argument=--flag; repeatable")
    add("--side-input", action="append", default=[], metavar="NAME=DATASET[:V]", help="a folder for every worker; repeatable")
    reuse = "on (the default) reuses the output of an earlier run with the same inputs; off scores again"
    add("--allow-reuse", choices=("on", "off"), default="on", help=reuse)
    add("--name", default="", metavar="T", help="a title for the run")
    if wait:
        _with_wait(parser)
    scoring_commands.add_options(parser)
    settings = parser.add_argument_group("settings")
    for name, setting in TABLE.items():
        default = ParallelRunSettings.default(name)
        text = f"{setting.help} Default: {setting.unset if default is None else default}.".replace("%", "%%")
        flag = f"--{name.replace('_', '-')}"
        if name == "environment_variables":
            settings.add_argument("--environment-variable", dest=name, action="append", metavar="K=V", help=f"{text} Repeatable.")
        elif name == "partition_keys":
            settings.add_argument(flag, action="append", metavar="KEY", help=f"{text} Repeatable.")
        else:
            settings.add_argument(flag, metavar="|".join(setting.options) or ("V" if setting.minimum is None else "N"), help=text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. `--help` raises SystemExit, as argparse does."""
    argv = sys.argv[1:] if argv is None else argv
    as_json = "--json" in argv  # also if the rest can't be parsed
    try:
        args = _parser().parse_args(argv)
        log.to_dashboard_file(path_given(args.home) if args.home else default_home())
        answer: Answer = args.command(open_workspace(args.workspace, args.home), args)
    except StudioError as error:
        if isinstance(error, WorkspaceUnavailable):
            logger.warning("%s", error, exc_info=error)
        answer = Answer(error_value(error), code=3 if isinstance(error, WorkspaceUnavailable) else 2)
        if not as_json:
            note(*error_lines(error))
    except BrokenPipeError:
        raise
    except Exception as error:  # a bug: with --json it is reported as one object too
        logger.exception("A command failed: %s: %s", type(error).__name__, error)
        traceback.print_exc()
        answer = Answer({"error": {"type": type(error).__name__, "message": str(error), "hint": "This is a bug in the program."}}, code=1)
        if not as_json:
            return answer.code
    with stdout_writable():
        answer.print(as_json=as_json)
    return answer.code


def run() -> int:
    """The whole process: `main`, its streams, Ctrl-C and closed pipes; the exit code."""
    environment_variables.take("BATCH_SCORING_TOKEN")  # the dashboard's: not for a run that this command starts
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = main()
        with stdout_writable():
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return commands.INTERRUPTED
    except BrokenPipeError:  # the reader has closed it: `| head`
        _discard_stdout()
        return _CLOSED_PIPE
    except SettingsError as error:  # of stdout_writable
        note(*error_lines(error))
        _discard_stdout()
        return 2


def _discard_stdout() -> None:
    """What is still buffered must not fail again when Python ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
