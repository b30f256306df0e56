"""The journal: when a training writes its state into the run folder."""

import platform
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pyro
import torch

from lvkam_pyro import __version__
from lvkam_pyro.tracing.arguments import Arguments
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.runs.checkpoint import CheckpointError, serialize_checkpoint
from lvkam_pyro.training.runs.files import write_atomically
from lvkam_pyro.training.runs.run_folder import RunFolder
from lvkam_pyro.training.state import TrainingState

SECONDS_BETWEEN_WRITES = 2.0
"""A killed training loses at most this time and the epoch that it was in."""


_NUMBERS = ("num_epochs", "batch_size", "learning_rate", "guide_learning_rate", "max_gradient_norm")
"""The fields of a recipe that a training shares with the one that it goes on from."""


class Journal:
    """Keeps the state after the newest whole epoch, and writes it from time to time.

    Args:
        folder: The run folder.
        identity: The values that have to be the same for a training to go on, see
            `training_identity`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     journal = Journal(folder, {"seed": 0})
        ...     with ExitStack() as owner:
        ...         journal.open(owner, resume=False) is None, journal.folder.settings.exists()
        (True, True)
    """

    def __init__(self, folder: str | Path, identity: dict[str, object]) -> None:
        self.folder = RunFolder(folder)
        self.identity = identity
        self._unwritten: tuple[bytes, list[dict[str, float]]] | None = None
        self._written_at = time.monotonic()

    def open(self, owner: ExitStack, *, resume: bool) -> dict[str, object] | None:
        """Makes the folder, which is this process's until the owner closes, and writes settings.

        Returns:
            The state to go on from, or None for a new training.

        Raises:
            FileExistsError: If there is a run and it is not to be resumed.
            FolderInUseError: If another process trains into the folder.
            CheckpointError: If the checkpoint is damaged or of another training.
            OSError: If the folder cannot be written.
        """
        owner.enter_context(self.folder.owned())
        if not resume:
            self.folder.check_free()
        state = self.read() if self.folder.checkpoint.exists() else None
        if state is not None:
            # A process killed after its checkpoint has left the metrics behind.
            self.folder.write_metrics(metrics_of(state, self.folder))
        self.folder.write_settings({"training": self.identity, "versions": versions()})
        return state

    def record(self, training: TrainingState) -> None:
        """Takes a snapshot of the state after an epoch, and writes it if it is time."""
        state = {"identity": self.identity, **training.state_dict()}
        self._unwritten = serialize_checkpoint(state), list(training.metrics)
        if time.monotonic() - self._written_at > SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        """Writes the newest snapshot, unless it is written already."""
        if self._unwritten is None:
            return
        checkpoint, metrics = self._unwritten
        write_atomically(self.folder.checkpoint, checkpoint)
        self.folder.write_metrics(metrics)
        self._unwritten = None
        self._written_at = time.monotonic()

    def read(self) -> dict[str, object]:
        """Reads the state to go on from.

        Raises:
            FileNotFoundError: If there is no checkpoint.
            CheckpointError: If the checkpoint is damaged or of another training.
        """
        state = self.folder.read_checkpoint()
        saved = state.get("identity")
        changes = changes_of(self.identity, saved if isinstance(saved, dict) else self.identity)
        if changes:
            raise CheckpointError(
                f"{self.folder.checkpoint} belongs to another training: {changes}. "
                "Resume with what it was started with, or choose another folder."
            )
        return state


def training_identity(
    recipe: Recipe, data: Arguments, *, seed: int, validation: Arguments | None = None
) -> dict[str, object]:
    """The plain values that a training shares with the one that it goes on from.

    One tensor is known by its hash; of several arguments, the names and plain values count too.
    Without validation data they are not compared: who only reads a training needs none.
    """
    parts = {"grid_updates": recipe.grid_updates, "early_stopping": recipe.early_stopping}
    return {
        "recipe": recipe.name,
        **{name: getattr(recipe, name) for name in _NUMBERS},
        **{name: None if part is None else asdict(part) for name, part in parts.items()},
        "num_data": data.longest,
        "data_hash": data.hash,
        **_options_of(data),
        "seed": seed,
        **({} if validation is None else {"validation_hash": validation.hash}),
    }


def _options_of(data: Arguments) -> dict[str, object]:
    """The arguments by name or place, without the values of tensors; nothing of a single tensor."""
    if len(data.args) == 1 and not data.kwargs:
        return {}
    named = {**{str(place): value for place, value in enumerate(data.args)}, **data.kwargs}
    return {"arguments": {name: _plain(value) for name, value in named.items()}}


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str | None) else type(value).__name__


def changes_of(now: Mapping[str, object], saved: Mapping[str, object]) -> str:
    """The entries that differ from what was saved, in words; nothing where all are equal.

    Example:
        >>> changes_of({"seed": 1, "batch_size": 8}, {"seed": 0, "batch_size": 8})
        'seed was 0 and is 1'
    """
    return "; ".join(
        f"{key} was {saved.get(key)!r} and is {value!r}"
        for key, value in now.items()
        if saved.get(key) != value
    )


def metrics_of(state: Mapping[str, object], folder: RunFolder) -> list[dict[str, float]]:
    """The metrics in a checkpoint's state, a row an epoch.

    Args:
        state: The result of `load_checkpoint`.
        folder: Where it is from, for the message.

    Raises:
        CheckpointError: If there are none.
    """
    metrics = state.get("metrics")
    if not (isinstance(metrics, list) and metrics):
        raise CheckpointError(
            f"{folder.checkpoint} is no checkpoint of a training: it has no metrics. Restore it "
            "from a copy, or start the training again in another folder."
        )
    return metrics


def versions() -> dict[str, str]:
    """The versions of what computes, for `settings.json`."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "lvkam_pyro": __version__,
    }
