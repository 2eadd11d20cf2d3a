"""Steps as they were met: what one left is kept as a folder, with whatever tells whose it was replaced, and played again.

```
recorded/<name>/
  step.json    {"status", "error"}: how it ended, the service's message
  logs/        the files of the run's details (`logFiles`), by their names there
  output/      the files of its output
```
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

RECORDED = Path(__file__).with_name("recorded")
_GUID = re.compile(r"(?<![0-9a-zA-Z])[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\b")
_HEX = re.compile(r"(?<![0-9a-zA-Z])(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{16,}\b", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")
_HOST = re.compile(
    r"\b([\w-]+)((?:\.[\w-]+)*\.(?:windows\.net|azureml\.ms|azureml\.net|azure\.com|azure\.net|azurecr\.io|cloudapp\.net|visualstudio\.com))\b"
)
_SIGNED = re.compile(r"\?[^\s\"'<>]*\bsig=[^\s\"'<>]*")
_SECRETS = re.compile(r"\b(sig|AccountKey|SharedAccessSignature|client_secret|access_token|InstrumentationKey)=[^\s&;\"']+", re.IGNORECASE)
_TOKEN = re.compile(r"\beyJ[\w-]+(?:\.[\w-]+)*|Bearer [\w.~+/=-]+")
_MAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")

TRACES = {
    "an id": re.compile(r"(?!00000000-0000-0000-0000-)" + _GUID.pattern),
    "an address": re.compile(r"(?!10\.0\.0\.|127\.0\.0\.1\b)" + _ADDRESS.pattern),
    "a host": re.compile(r"(?!host\d*\.example)" + _HOST.pattern),
    "a signature": re.compile(r"\bsig=(?!…)|AccountKey=(?!…)", re.IGNORECASE),
    "a token": _TOKEN,
    "a mail address": re.compile(r"(?!user@example\.com)" + _MAIL.pattern),
}
"""What a recording must not hold, by what it is."""


class Scrubber:
    """Replaces, in all texts of a recording alike, what tells whose it was. `names` are replaced by what they stand for, in any case."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {name: stands_for for name, stands_for in names.items() if len(name) > 2}
        self._seen: dict[str, dict[str, str]] = {}

    def scrubbed(self, text: str) -> str:
        text = _SIGNED.sub("?signature", text)
        text = _SECRETS.sub(r"\1=…", text)
        text = _TOKEN.sub("token…", text)
        text = _MAIL.sub("user@example.com", text)
        text = _HOST.sub(lambda match: f"host{self._number('host', match[0])}.example", text)
        for name, stands_for in sorted(self._names.items(), key=lambda pair: -len(pair[0])):
            text = re.sub(re.escape(name), stands_for, text, flags=re.IGNORECASE)
        text = _GUID.sub(lambda match: f"00000000-0000-0000-0000-{self._number('id', match[0]):012}", text)
        text = _HEX.sub(lambda match: f"{self._number('hex', match[0]):016}", text)
        return _ADDRESS.sub(lambda match: f"10.0.0.{self._number('address', match[0]) + 3}", text)

    def _number(self, kind: str, text: str) -> int:
        """The same for the same text: what belongs together still does."""
        seen = self._seen.setdefault(kind, {})
        return int(seen.setdefault(text.lower(), str(len(seen) + 1)))


def record(folder: Path, status: str, error: str, logs: Mapping[str, Path], output: Mapping[str, Path], scrubber: Scrubber) -> None:
    """Keep what a step left. `logs` and `output` are its files by name. What is no text is left out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    step = {"status": status, "error": scrubber.scrubbed(error)}
    (folder / "step.json").write_text(json.dumps(step, indent=1) + "\n", encoding="utf-8")
    for kind, files in (("logs", logs), ("output", output)):
        for name, path in files.items():
            try:
                text = path.read_text("utf-8")
            except ValueError:
                continue
            target = folder / kind / scrubber.scrubbed(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(scrubber.scrubbed(text), encoding="utf-8")


def traces_in(folder: Path) -> Iterable[str]:
    """Sentences, one for each thing in a recording that tells whose it was."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for what, pattern in TRACES.items():
            if match := pattern.search(f"{path.name}\n{path.read_text('utf-8')}"):
                yield f"{path.relative_to(folder)} holds {what}: {match[0]}"


class Recording:
    """A step that was met, in place of one that is carried out: the same methods as parallel_run.StepRun."""

    running = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        step = json.loads((folder / "step.json").read_text(encoding="utf-8"))
        self.succeeded, self.error = step["status"] == "Completed", step["error"]

    def cancel(self) -> None:
        """It has ended."""

    def logs(self) -> dict[str, bytes]:
        return self._files("logs")

    def output(self) -> dict[str, bytes]:
        return self._files("output")

    def _files(self, kind: str) -> dict[str, bytes]:
        below = self._folder / kind
        return {path.relative_to(below).as_posix(): path.read_bytes() for path in sorted(below.rglob("*")) if path.is_file()}
