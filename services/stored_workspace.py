"""What is the same for every workspace that keeps what it knows in a home on this machine: its registry, what a request names, how files
become a dataset.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.domain import Dataset, DatasetProposal, Environment, Model, ModelCard, RunRequest, TableReading
from services.file_names import check_name
from services.intake import model_files, proposals
from services.intake.datasets import DatasetOptions
from services.intake.staging import staging_folder
from services.predictions.annotations import AnnotationStore
from services.scoring.model_card import READER, read_card
from services.scoring.presets import Presets
from services.storage.dismissals import Dismissals
from services.storage.file_tree import make_folders
from services.storage.store import Store
from services.submission import Inputs


class StoredWorkspace:
    """The base of the workspaces: see services.workspace."""

    model: Callable[[str], Model]
    dataset: Callable[[str], Dataset]

    def __init__(self, home: Path, machine_home: Path, *folders: str) -> None:
        """`folders` are what it keeps in the home besides. Raises WorkspaceUnavailable."""
        self.home, self.machine_home = home, machine_home
        make_folders(home, "datasets", "scripts", "runs", "incoming", *folders)
        self._store, self.annotations = Store(home), AnnotationStore(home)
        self.presets, self.dismissals = Presets(self._store), Dismissals(self._store)

    def _file_card(self, model: Model, fetch: Callable[[], Path] | None = None) -> ModelCard:
        """What its file tells, which is read once. `fetch` brings it here, where it isn't."""
        content = model.sha256 or model.reference
        card = self._store.model_card(content, READER)
        if card is None:
            path = fetch() if fetch else Path(model.path)
            card = read_card(path, model_files.inspect_model(path))
            self._store.keep_model_card(content, READER, card)
        return card

    def _inputs(self, request: RunRequest, environment: Environment | None) -> Inputs:
        return Inputs(
            [self.model(reference) for reference in request.models],
            [self.dataset(reference) for reference in request.datasets],
            {name: self.dataset(reference) for name, reference in request.side_inputs.items()},
            environment,
        )

    def register_dataset(
        self,
        name: str,
        path: str | Path,
        *,
        type: str = "file",  # noqa: A002
        glob: str = "**",
        partition_format: str = "",
        description: str = "",
        copy: bool = False,
        keep_archive: bool = False,
        reading: TableReading | None = None,
    ) -> Dataset:
        check_name("name", name)
        if type == proposals.AUTO:
            type = self.propose_dataset(path, glob=glob, keep_archive=keep_archive, reading=reading).type  # noqa: A001
        options = DatasetOptions(type, glob, partition_format, description, copy, keep_archive, reading)
        with staging_folder(self.home) as staging:
            return self._register_dataset(name, path, options, staging)

    def _register_dataset(self, name: str, path: str | Path, options: DatasetOptions, staging: Path) -> Dataset:
        """The name is one, the type is not auto, and `staging` is an empty folder."""
        raise NotImplementedError

    def propose_dataset(
        self,
        path: str | Path,
        *,
        type: str = proposals.AUTO,  # noqa: A002
        glob: str = "**",
        keep_archive: bool = False,
        reading: TableReading | None = None,
    ) -> DatasetProposal:
        self._check_readable(path)
        return proposals.propose(self.home, path, glob, type, reading or TableReading(), keep_archive=keep_archive)

    def _check_readable(self, path: str | Path) -> None:
        """Raises SettingsError for a place that is only read once it is registered."""
