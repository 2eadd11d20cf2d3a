"""The command line: the same verbs as the pages. `python -m services --help`."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from services.cli import commands
from services.cli.output import Answer, error_lines, error_value, note
from services.errors import StudioError, WorkspaceUnavailable
from services.settings import TABLE, ParallelRunSettings
from services.workspace import WORKSPACES, open_workspace

_CLOSED_PIPE = 141  # as a shell says it of a program ended by SIGPIPE

_EXIT_CODES = """\
exit code:
  0  done; with run --wait: the run is Completed. show is done whatever the run it shows came to
  1  run --wait: the run ended otherwise, or nobody carries it out any more
  2  refused input: a wrong value, a missing thing, a file or script that can't be taken
  3  the workspace is out of reach
With --json, standard output holds one JSON object and nothing else, {"error": {...}} for an error.
"""


class UsageError(StudioError):
    """You: the command line itself is wrong."""


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of leaving, and takes no abbreviations: they break when an option is added."""

    def __init__(self, **given: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **given)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"See {self.prog} --help")


def _with_program_options(parser: argparse.ArgumentParser, *, outermost: bool = False) -> None:
    """The options that may stand before or after any command. Only the outermost parser has defaults: others would overwrite it."""

    def add(flag: str, default: object, **more: Any) -> None:
        parser.add_argument(flag, default=default if outermost else argparse.SUPPRESS, **more)

    add("--workspace", "local", choices=WORKSPACES, help="local (the default) or azure")
    add("--home", None, metavar="DIR", help="where all of this machine is kept (default: BATCH_SCORING_HOME, else the user data folder)")
    add("--json", False, action="store_true", help="print one JSON object on standard output and nothing else there")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=commands.PROGRAM, description="Batch predictions on this machine, and on Azure ML.", epilog=_EXIT_CODES)
    _with_program_options(parser, outermost=True)
    top = parser.add_subparsers(metavar="COMMAND", required=True)

    def group(name: str, text: str) -> Any:
        made = top.add_parser(name, help=text, description=text)
        _with_program_options(made)
        return made.add_subparsers(metavar="COMMAND", required=True)

    def command(of: Any, name: str, function: Callable[..., Answer], text: str, *positional: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = of.add_parser(name, help=text, description=text, epilog=_EXIT_CODES)
        _with_program_options(made)
        made.set_defaults(command=function)
        for argument in positional:
            made.add_argument(argument.lower(), metavar=argument)
        return made

    models = group("model", "Register, list and approve models.")
    add = command(models, "register", commands.register_model, "Register a file or folder as the next version of a model.", "NAME", "PATH")
    add.add_argument("--description", default="", metavar="T")
    add.add_argument("--tag", action="append", default=[], metavar="K=V", help="may be repeated")
    add.add_argument("--approve", action="store_true", help="a model that is a program may be used by runs; its SHA-256 is approved")
    command(models, "list", commands.list_models, "List all versions of all models.")
    add = command(models, "approve", commands.approve_model, "Allow runs to execute a model that is a program.")
    add.add_argument("model", metavar="NAME:V")

    datasets = group("dataset", "Register and list datasets.")
    add = command(datasets, "register", commands.register_dataset, "Register the files of a folder, in place.", "NAME", "PATH")
    add.add_argument("--glob", default="**", metavar="G", help="which files: *.csv at the top, **/*.csv at any depth (default: all)")
    kinds = "file: run() gets paths of files (the default); tabular: rows of CSV or Parquet files, as a DataFrame"
    add.add_argument("--type", choices=("file", "tabular"), default="file", help=kinds)
    add.add_argument("--partition-format", default="", metavar="F", help="which parts of a path are keys: {store}/{brand}/*.csv")
    command(datasets, "list", commands.list_datasets, "List all versions of all datasets.")

    environments = group("environment", "Register and list environments.")
    command(
        environments,
        "register",
        commands.register_environment,
        "Register a Python interpreter, 3.8 or newer; on Azure ML a conda file.",
        "NAME",
        "PYTHON",
    )
    command(environments, "list", commands.list_environments, "List the environments.")

    _with_request(command(top, "run", commands.submit, "Score datasets: submit a run."))
    command(top, "runs", commands.list_runs, "List the runs, the newest first.")
    command(top, "show", commands.show, "Where a run is.", "RUN")
    command(top, "cancel", commands.cancel, "Ask for a run's end.", "RUN")
    command(top, "resume", commands.resume, "Carry on with a run that stopped short of Completed.", "RUN")
    add = command(top, "rerun", commands.rerun, "Submit a run's request again, as a new run.", "RUN")
    only = "score just the items that failed or have no row; the predictions are the old run's with these replaced"
    add.add_argument("--failed-only", action="store_true", help=only)
    add.set_defaults(wait=False)
    command(top, "logs", commands.logs, "Print a run's log files, the last 1 MB of each.", "RUN")
    add = command(top, "output", commands.output, "Copy the files as the run wrote them: parallel_run_step.txt", "RUN")
    add.add_argument("--to", required=True, metavar="DIR", help="made where it isn't there")
    add = command(top, "predictions", commands.predictions, "Write a run's predictions as CSV: File, Prediction.", "RUN")
    add.add_argument("--to", required=True, metavar="FILE.csv", help="- is standard output")
    add.add_argument("--where", default="", metavar="SQL", help="which rows, such as \"Prediction = '7'\"")
    return parser


def _with_request(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dataset", action="append", required=True, metavar="NAME[:V]", help="what to score; may be repeated")
    add("--model", action="append", default=[], metavar="NAME[:V]", help="may be repeated; the latest version where none is given")
    add("--entry-script", required=True, metavar="PATH", help="the scoring script; or a built-in one by name: batch_scoring_script")
    add("--source-directory", metavar="DIR", help="the folder of the script's modules (default: the script's own)")
    add("--environment", metavar="NAME[:V]", help="the registered one to use (default: this program's own; on Azure ML one made for it)")
    add("--compute-target", metavar="NAME", help="the cluster on Azure ML; has no meaning on the local workspace")
    add("--argument", action="append", default=[], metavar="A", help="for the script; write --argument=--flag; may be repeated")
    add("--side-input", action="append", default=[], metavar="NAME=DATASET[:V]", help="a folder for every worker; may be repeated")
    reuse = "on (the default) takes the output of an earlier run with the same inputs, where there is one; off scores again"
    add("--allow-reuse", choices=("on", "off"), default="on", help=reuse)
    add("--name", default="", metavar="T", help="a title for the run")
    add("--wait", action="store_true", help="wait for the end; progress on standard error. Ctrl-C leaves the run going on")
    settings = parser.add_argument_group("settings")
    for name, setting in TABLE.items():
        default = ParallelRunSettings.default(name)
        text = f"{setting.help} Default: {setting.unset if default is None else default}.".replace("%", "%%")
        flag = f"--{name.replace('_', '-')}"
        if name == "environment_variables":
            settings.add_argument("--environment-variable", dest=name, action="append", metavar="K=V", help=f"{text} May be repeated.")
        elif name == "partition_keys":
            settings.add_argument(flag, action="append", metavar="KEY", help=f"{text} May be repeated.")
        else:
            settings.add_argument(flag, metavar="|".join(setting.options) or ("V" if setting.minimum is None else "N"), help=text)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit code. `--help` raises SystemExit, as argparse does."""
    argv = sys.argv[1:] if argv is None else argv
    as_json = "--json" in argv  # also where the rest of it can't be parsed
    try:
        given = _parser().parse_args(argv)
        answer: Answer = given.command(open_workspace(given.workspace, given.home), given)
    except StudioError as error:
        answer = Answer(error_value(error), code=3 if isinstance(error, WorkspaceUnavailable) else 2)
        if not as_json:
            note(*error_lines(error))
    except Exception as error:
        if isinstance(error, BrokenPipeError):
            raise
        traceback.print_exc()
        answer = Answer({"error": {"type": type(error).__name__, "message": str(error), "hint": "This is a fault of the program."}}, code=1)
        if not as_json:
            return answer.code
    answer.say(as_json=as_json)
    return answer.code


def _program() -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return commands.INTERRUPTED
    except BrokenPipeError:  # who reads has had enough: `| head`. What is still buffered must not fail once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE


if __name__ == "__main__":
    sys.exit(_program())
