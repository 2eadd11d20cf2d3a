"""What an archive of a run holds, and where: the same for the export, the import and the reading of imported runs.

```
manifest.json            what the archive is, and of each other file its bytes and SHA-256
README.txt  report.html  for people
run.json                 the run: its request, counts, times, errors
about.json               provenance, environment, activity, notes on the run, failures, how to read its logs
mini_batches.jsonl       the attempts at each mini-batch, in a line; of a run with more than 500 without the names of the items, which the
                         table has; of a run with more than 20,000 only those that failed or took longest
annotations.jsonl        notes and corrected labels on rows
failed_items.jsonl       of a run without a table, its failed items
predictions.parquet      the typed table
labels/                  true labels of its datasets
script/                  the scoring script. It is never executed from here
output/  logs/           as the run wrote them
```

An imported run has the same files in its folder, except manifest.json.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from services.domain import Environment, Metadata
from services.run_details import Failure, FailureCause, Provenance, RunActivity

FORMAT = "batch-scoring-studio/run"
VERSION = 1
"""To be raised where an older program can't read what a newer one writes."""

MANIFEST, RUN, ABOUT = "manifest.json", "run.json", "about.json"
MINI_BATCHES, ANNOTATIONS, FAILED_ITEMS = "mini_batches.jsonl", "annotations.jsonl", "failed_items.jsonl"
TABLE, REPORT, README = "predictions.parquet", "report.html", "README.txt"
OUTPUT, LOGS, SCRIPT, LABELS = "output", "logs", "script", "labels"
FILES = (MANIFEST, RUN, ABOUT, MINI_BATCHES, ANNOTATIONS, FAILED_ITEMS, TABLE, REPORT, README)
FOLDERS = (OUTPUT, LOGS, SCRIPT, LABELS)

ITEMS = ("file", "row", "item")
"""What an item of the run is, in a word; the last where it isn't known."""
RUN_ID = re.compile(r"run-\d{8}-\d{6}-[0-9a-f]{6}")
LABELS_FILE = re.compile(r"labels/labels-[0-9a-f]{12}\.parquet")

MOST_FILES, MOST_BYTES, MOST_RATIO = 200_000, 50 << 30, 200
LARGEST_JSON = 64 << 20
LARGEST_NUMBER = 10**13
"""Of every number in an archive: no run has as many bytes, items or seconds, and Python still has a time span of as many seconds."""
MOST_WITH_ITEMS, MOST_MINI_BATCHES = 500, 20_000
MOST_FAILURES, MOST_FAILED_ITEMS, MOST_CAUSES = 1_000, 1_000_000, 1_000
MOST_ANNOTATIONS, MOST_LABELS = 1_000_000, 100


@dataclass(frozen=True)
class ArchivedFile:
    """A file of the archive, by its path there."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`run` is the run's id in the home that it comes from, `made_with` the version of the program."""

    format: str
    version: int
    made_with: str
    run: str
    files: tuple[ArchivedFile, ...]


@dataclass(frozen=True)
class About:
    """What is known of a run beside its table. `utc_offset` is that of times in its logs that don't say theirs, in seconds.
    `reports`: among its logs are reports made of its journal, and errors of attempts stand in no log. `left_out` are sentences on what the
    archive lacks."""

    provenance: Provenance
    environment: Environment
    activity: RunActivity
    metadata: Metadata = field(default_factory=Metadata)
    failures: tuple[Failure, ...] = ()
    causes: tuple[FailureCause, ...] = ()
    item: str = "item"
    utc_offset: int = 0
    reports: bool = False
    left_out: tuple[str, ...] = field(default_factory=tuple)
