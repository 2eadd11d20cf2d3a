"""A first model and a first dataset: scikit-learn's handwritten digits, half to learn from, half to score.

`make_sample` is what the page calls. The work is done by `python -m services.sample HOME`, since scikit-learn has no place in the
dashboard's process.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from services import PROJECT_ROOT, PYTHON
from services.domain import Dataset, Model
from services.errors import StudioError, WorkspaceUnavailable, os_errors_as
from services.intake.staging import staging_folder
from services.storage.atomic import write_atomically
from services.storage.file_tree import make_folders
from services.workspace import Workspace
from services.workspaces import open_workspace

logger = logging.getLogger(__name__)

MODEL = "digits-classifier"
DATASET = "digits-batch"
MODEL_TAGS = {"sample": "handwritten digits"}
DATASET_DESCRIPTION = "Sample: handwritten digits, 8 × 8 gray values in one row per file, not used for training."
_UNAVAILABLE = 3  # the exit code, as of a command
_TIMEOUT_SECONDS = 300  # s; it takes about three


@dataclass(frozen=True)
class SampleMade:
    """References (`name:version`) of the model and the dataset, and the path of a CSV of the true labels: columns File, Label."""

    model: str
    dataset: str
    labels: str


def make_sample(home: Path) -> SampleMade:
    """Make the sample in the local workspace at `home`, or find the one made before. Takes seconds. Raises StudioError."""
    command = [*PYTHON, "-m", "services.sample", str(home.absolute())]
    try:
        child = subprocess.run(
            command, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        text = f"The sample was not made within {_TIMEOUT_SECONDS} s."
        raise StudioError(text, "This machine may be very busy: try again later.") from error
    if child.returncode:
        errors = child.stderr.decode(errors="replace")
        logger.error("The sample could not be made:\n%s", errors)
        last_words = errors.strip().split("\n")[-1] or f"its process ended with code {child.returncode}"
        kind = WorkspaceUnavailable if child.returncode == _UNAVAILABLE else StudioError
        raise kind(f"The sample could not be made: {last_words}", "It needs scikit-learn and a folder that can be written.")
    return SampleMade(**json.loads(child.stdout.splitlines()[-1]))


def make_here(home: Path) -> SampleMade:
    """The same in this process, which then has scikit-learn."""
    workspace = open_workspace("local", home)
    folder = home / "samples"
    make_folders(home, folder.name)
    labels = folder / "digits-labels.csv"
    with FileLock(folder / ".lock"):  # pressed twice, or in two tabs
        model, dataset = _made_before(workspace)
        if not (model and dataset and labels.exists()):
            with staging_folder(workspace.home) as work:
                model, dataset = _train_and_write(workspace, work, labels, model, dataset)
                workspace.add_labels(dataset.reference, labels)
    return SampleMade(model.reference, dataset.reference, str(labels))


def _made_before(workspace: Workspace) -> tuple[Model | None, Dataset | None]:
    models = (
        m for m in workspace.models() if m.name == MODEL and MODEL_TAGS.items() <= m.tags.items() and m.usable and Path(m.path).exists()
    )
    datasets = (d for d in workspace.datasets() if d.name == DATASET and d.description == DATASET_DESCRIPTION and Path(d.root).exists())
    return next(models, None), next(datasets, None)


def _train_and_write(workspace: Workspace, work: Path, labels: Path, model: Model | None, dataset: Dataset | None) -> tuple[Model, Dataset]:
    """Make whichever is None, and the labels. The split is the same every time, so that one made before goes with one made now."""
    import joblib
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.svm import SVC

    images, digits = load_digits(return_X_y=True)
    seen, unseen, seen_digits, unseen_digits = train_test_split(images, digits, test_size=0.5, stratify=digits, random_state=0)
    if model is None:
        classifier = SVC(gamma=0.001).fit(seen, seen_digits)
        joblib.dump(classifier, work / "digits_classifier.joblib")
        accuracy = classifier.score(unseen, unseen_digits)
        model = workspace.register_model(
            MODEL,
            work / "digits_classifier.joblib",
            description=f"Sample: a classifier of handwritten digits, trained on {len(seen)} images; {accuracy:.1%} correct on the others.",
            tags=MODEL_TAGS,
            approve=True,
        )
    names = [f"digit_{number:04}.csv" for number in range(1, len(unseen) + 1)]
    if dataset is None:
        files = work / "files"
        files.mkdir()
        for name, pixels in zip(names, unseen.astype(int).tolist(), strict=True):
            (files / name).write_text(",".join(map(str, pixels)) + "\n", encoding="ascii")
        dataset = workspace.register_dataset(DATASET, files, description=DATASET_DESCRIPTION, copy=True)
    lines = ["File,Label", *(f"{name},{digit}" for name, digit in zip(names, unseen_digits.tolist(), strict=True))]
    write_atomically(labels, "\n".join(lines) + "\n")
    return model, dataset


def main() -> int:
    home = Path(sys.argv[1])
    try:
        with os_errors_as(WorkspaceUnavailable, f"The workspace's folder, {home}, can't be written"):
            made = make_here(home)
    except StudioError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return _UNAVAILABLE if isinstance(error, WorkspaceUnavailable) else 1
    print(json.dumps(asdict(made)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
