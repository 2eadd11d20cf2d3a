"""What was approved is what is executed: the bytes of a run's models, and of an uploaded script, are those of the day they came in."""

from __future__ import annotations

from pathlib import Path

from services.errors import StudioError
from services.local.run_folder import RunPlan
from services.storage import file_tree


def changes_since_approval(home: Path, plan: RunPlan) -> str | None:
    """A sentence on the first model or uploaded script that is not what was registered, else None.

    A script that the caller named by its path is the caller's own: changing it before a resume is allowed.
    """
    for model in plan.models:
        if _sha256(Path(model.path)) != model.sha256:
            message = f"Model {model.name}:{model.version} is not what was registered: its SHA-256 is no longer {model.sha256}."
            return f"{message} Register the model again, look at it, and approve it."
    script = Path(plan.request.entry_script)
    if script.is_relative_to(home / "scripts") and _sha256(script) != script.parent.name:
        message = f"The uploaded script {script.name} is not what was approved: its SHA-256 is no longer {script.parent.name}."
        return f"{message} Upload it again."
    return None


def _sha256(path: Path) -> str | None:
    try:
        return file_tree.sha256_of(path)
    except StudioError:
        return None  # gone is changed, too
