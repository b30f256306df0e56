"""A picture is written whole, and its figure closed."""

from pathlib import Path

import pytest
from matplotlib import pyplot

from lvkam_pyro.commands.pictures import save
from lvkam_pyro.plots.style import panels


def test_save_writes_a_picture_and_closes_it(tmp_path: Path) -> None:
    save(panels(2), tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not pyplot.get_fignums()


def test_refused_picture_is_closed_too(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot write"):
        save(panels(1), tmp_path / "missing" / "loss.png")
    assert not pyplot.get_fignums()
