"""What in a run's request may be secret: the values of environment variables, and arguments that look like a password or a token.

They are left out of what is handed over unless a person asks for them: a script then reads each from an environment variable, and stops
with its name where it isn't set. Whatever else a run holds, such as its logs, is taken as it is: nobody can tell what is secret there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from services.domain import RunRequest

_OF_THE_SYSTEM = ("HOME", "LANG", "PATH", "PWD", "PYTHONPATH", "SHELL", "TMPDIR", "USER")
"""Variables that every shell has, with values of its own."""
LEFT_OUT = "(left out)"
"""Stands for such a value in an archive."""

_NAME = re.compile(
    r"(?i)(^|[-_.])(secret|token|passw(or)?d|passphrase|pwd|api[-_]?key|(access|account|private|storage|encryption)[-_]?key|credentials?"
    r"|sas([-_](token|url))?|connection[-_]?string|conn[-_]?str|bearer|auth)($|[-_.=])"
)
_VALUE = re.compile(
    r"eyJ[\w-]{8,}\.|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{20}|\bgithub_pat_\w{20}|\bsk-[\w-]{20}|\bxox[abpr]-|\bhf_\w{20}|[?&]sig="
    r"|(?i:AccountKey|SharedAccessSignature|password|pwd)\s*=|://[^/\s:@]+:[^/\s@]+@|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_RANDOM = re.compile(r"[A-Za-z0-9+_~-]{24,}={0,2}")
_PLAIN = re.compile(r"(?i)[-+]?\d[\d.,:eE+-]*|true|false|yes|no|on|off|none|")
"""No secret whatever it is called: `--max-token 100`."""


@dataclass(frozen=True)
class Hidden:
    """A value that is left out. `before` stands before it (`--token=`), `variable` is the environment variable that a script reads instead;
    `shown` is what it is called for people: `the environment variable PASSWORD`, `the argument --token`."""

    variable: str
    shown: str
    before: str = ""


@dataclass(frozen=True)
class Disclosed:
    """A request's environment variables and arguments, with `Hidden` in place of what is left out."""

    variables: dict[str, str | Hidden]
    arguments: tuple[str | Hidden, ...]

    @property
    def hidden(self) -> tuple[Hidden, ...]:
        values = (*self.variables.values(), *self.arguments)
        return tuple(value for value in values if isinstance(value, Hidden))

    def notes(self) -> list[str]:
        """A sentence on what is left out, where anything is."""
        if not self.hidden:
            return []
        names = ", ".join(hidden.shown for hidden in self.hidden)
        return [f"Left out, since they may be secret, are the values of {names}."]

    def request(self, request: RunRequest) -> RunRequest:
        """The request with LEFT_OUT where a value is left out."""
        variables = {name: LEFT_OUT if isinstance(value, Hidden) else value for name, value in self.variables.items()}
        settings = replace(request.settings, environment_variables=variables or None)
        arguments = tuple(value.before + LEFT_OUT if isinstance(value, Hidden) else value for value in self.arguments)
        return replace(request, settings=settings, arguments=arguments)


def disclose(request: RunRequest, *, with_secrets: bool = False) -> Disclosed:
    """What may be handed over of a request; with `with_secrets` all of it."""
    variables = dict(request.settings.environment_variables or {})
    if with_secrets:
        return Disclosed({**variables}, request.arguments)
    taken: set[str] = set()
    hidden: dict[str, str | Hidden] = {}
    for name in variables:
        hidden[name] = Hidden(_variable(name, taken), f"the environment variable {name}")
    return Disclosed(hidden, tuple(_arguments(request.arguments, taken)))


def _arguments(arguments: Sequence[str], taken: set[str]) -> list[str | Hidden]:
    shown: list[str | Hidden] = []
    name = ""
    for number, argument in enumerate(arguments, 1):
        flag, equals, value = argument.partition("=")
        if argument.startswith("-") and equals and _is_secret(flag, value):
            shown.append(Hidden(_variable(f"ARGUMENT_{flag}", taken), f"the argument {flag}", f"{flag}="))
            name = ""
        elif argument.startswith("--"):
            shown.append(argument)
            name = "" if equals else argument
        elif _is_secret(name, argument):
            what = name or f"{number}"
            shown.append(Hidden(_variable(f"ARGUMENT_{what}", taken), f"the argument {what}"))
            name = ""
        else:
            shown.append(argument)
            name = ""
    return shown


def _is_secret(name: str, value: str) -> bool:
    if _PLAIN.fullmatch(value):
        return False
    return bool(_NAME.search(name.lstrip("-")) or _VALUE.search(value) or (_RANDOM.fullmatch(value) and _looks_random(value)))


def _looks_random(value: str) -> bool:
    """Letters of both cases and several digits mixed, as no person would name a column."""
    digits = sum(character.isdigit() for character in value)
    changes = sum(a.isdigit() != b.isdigit() for a, b in pairwise(value))
    return digits >= 3 and changes >= 5 and value != value.lower() and value != value.upper()


def _variable(name: str, taken: set[str]) -> str:
    """A name that shells take for a variable, like this one and like no other's."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name.encode("ascii", "ignore").decode()).strip("_").upper()
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        plain = name
    variable = stem = plain if plain[:1].isalpha() and plain not in _OF_THE_SYSTEM else f"RUN_{plain}".rstrip("_")
    number = 2
    while variable in taken:
        variable, number = f"{stem}_{number}", number + 1
    taken.add(variable)
    return variable
