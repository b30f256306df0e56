"""A picture as a file."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lvkam_pyro.plots.style import STYLE, close, figure_of
from lvkam_pyro.training.runs.files import replace_file


def save(axes: Axes | NDArray[np.object_], path: str | Path) -> None:
    """Writes the figure that the axes belong to, and closes it.

    Args:
        axes: What a plot returned.
        path: File to write; its ending (`.png`, `.pdf`, `.svg`) is the format.

    Raises:
        OSError: If it cannot be written; what the file held before is intact.
    """
    path, figure = Path(path), figure_of(axes)
    try:
        with mpl.rc_context(dict(STYLE)):
            ending = path.suffix[1:] or None
            replace_file(path, lambda temporary: figure.savefig(temporary, format=ending))
    finally:
        close(axes)
