"""The memory of a guide's chains for each datum, from one update of a training to the next."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor


class ChainMemory:
    r"""The last state of every datum's chains, found by the datum's row.

    Inside `at`, a guide that is run on rows of a training finds where their chains stood, and
    leaves where they stand now. Outside, as on held-out data, there is nothing to find. Between two
    updates the parameters move a little, and so does the posterior: chains that go on are near it
    after few steps, where chains that begin anew must find it (Younes 1989,
    https://doi.org/10.1007/BF00341287; Tieleman 2008, https://doi.org/10.1145/1390156.1390290).

    Example:
        >>> memory = ChainMemory()
        >>> with memory.at(torch.tensor([2, 0]), 3):
        ...     memory.recall() is None
        ...     memory.keep({"position": torch.tensor([[5.0], [7.0]])})
        True
        >>> with memory.at(torch.tensor([0, 2]), 3):
        ...     memory.recall()
        {'position': tensor([[7.],
                [5.]])}
        >>> with memory.at(torch.tensor([1, 2]), 3):  # The chains of datum 1 have yet to begin.
        ...     memory.recall() is None
        True
    """

    def __init__(self) -> None:
        self._rows: Tensor | None = None
        self._num_data = 0
        self._known = torch.zeros(0, dtype=torch.bool)
        self._states: dict[str, Tensor] = {}

    @contextmanager
    def at(self, rows: Tensor, num_data: int) -> Iterator[None]:
        """Inside, the guide is run on these rows of the data.

        Args:
            rows: Their indices, `(B,)`.
            num_data: N, the number of all data.

        Yields:
            Nothing.
        """
        self._rows, self._num_data = rows, num_data
        # What a checkpoint holds comes back on the CPU.
        self._known = self._known.to(rows.device)
        self._states = {name: state.to(rows.device) for name, state in self._states.items()}
        try:
            yield
        finally:
            self._rows = None

    def is_for(self, num_units: int) -> bool:
        """Whether the rows of a training are known, and are of this number of data."""
        return self._rows is not None and len(self._rows) == num_units

    def recall(self) -> dict[str, Tensor] | None:
        """The states kept for the rows, `(B, ...)` each; None where a chain has yet to begin.

        Raises:
            RuntimeError: Outside of `at`.
        """
        rows = self._present_rows()
        if len(self._known) != self._num_data or not self._known[rows].all():
            return None
        return {name: state[rows] for name, state in self._states.items()}

    def keep(self, states: Mapping[str, Tensor]) -> None:
        """Keep these for the rows, `(B, ...)` each, in place of what was there.

        States of other names or shapes than before are of other chains: those of all data are then
        forgotten first.

        Raises:
            RuntimeError: Outside of `at`.
        """
        rows = self._present_rows()
        if not self._has_place_for(states):
            self._known = torch.zeros(self._num_data, dtype=torch.bool, device=rows.device)
            self._states = {
                name: state.new_empty(self._num_data, *state.shape[1:])
                for name, state in states.items()
            }
        for name, state in states.items():
            self._states[name][rows] = state
        self._known[rows] = True

    def _has_place_for(self, states: Mapping[str, Tensor]) -> bool:
        shapes = {name: state.shape[1:] for name, state in states.items()}
        kept = {name: state.shape[1:] for name, state in self._states.items()}
        return len(self._known) == self._num_data and shapes == kept

    def _present_rows(self) -> Tensor:
        if self._rows is None:
            raise RuntimeError("There is no row to remember: this memory is used inside `at`.")
        return self._rows

    def state_dict(self) -> dict[str, object]:
        """Tensors that restore it."""
        return {"known": self._known, "states": dict(self._states)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restores a `state_dict`.

        Raises:
            ValueError: If it is none.
        """
        known, states = state.get("known"), state.get("states")
        if not isinstance(known, Tensor) or not isinstance(states, dict):
            raise ValueError(f"Expected the state of a ChainMemory, got {sorted(state)}.")
        self._known, self._states = known, states


def memory_of(guide: object) -> ChainMemory | None:
    """The attribute `memory` of a guide, if it is one that chains use.

    Example:
        >>> memory_of(lambda x: None) is None
        True
    """
    memory = getattr(guide, "memory", None)
    return memory if isinstance(memory, ChainMemory) else None


def remembering(guide: object, rows: Tensor, num_data: int) -> AbstractContextManager[None]:
    """Inside, a guide with a memory is run on these rows of the data.

    Args:
        guide: Any guide.
        rows: Indices of data, `(B,)`.
        num_data: The number of all data.

    Example:
        >>> with remembering(lambda x: None, torch.arange(3), 10):
        ...     pass
    """
    memory = memory_of(guide)
    return nullcontext() if memory is None else memory.at(rows, num_data)
