"""Asked of an interpreter: its version and what is installed there, as one line of JSON.

It parses in every Python since 2.7, so that one that is too old can say so. Standard library only.
"""

import os
import sys

MARK = "installed: "


def packages():
    """Versions of this interpreter's packages by name, as their metadata has them; of a name that is there twice, the one found first."""
    from importlib.metadata import distributions

    versions = {}
    for distribution in distributions():
        metadata = {}
        for line in _metadata(distribution).partition("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            metadata.setdefault(key, value.strip())
        if metadata.get("Name"):
            versions.setdefault(metadata["Name"], metadata.get("Version", ""))
    return versions


def _metadata(distribution):
    """The text itself: parsing it as e-mail, as importlib does, takes a hundred times as long."""
    for name in ("METADATA", "PKG-INFO", ""):  # "": an .egg-info that is a file
        try:
            text = distribution.read_text(name)
        except (OSError, UnicodeError):
            continue
        if text:
            return text
    return ""


def main():
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    import json

    answer = {"python_version": "%d.%d.%d" % sys.version_info[:3]}  # noqa: UP031 - Python 2 as well
    if sys.version_info >= (3, 8):  # noqa: UP036 - and older ones
        answer["packages"] = packages()
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
