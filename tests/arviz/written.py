"""A small object for ArviZ, written to a file by each generation and read by both.

`PYTHONPATH=. python tests/arviz/written.py` writes the file of the ArviZ that is installed.
"""

import gzip
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import arviz as az
import torch

import lvkam_pyro as lv

GENERATIONS = ("0.23", "1")
FOLDER = Path(__file__).parent / "data"


def path_of(generation: str) -> Path:
    """The file that a generation of ArviZ wrote, compressed."""
    return FOLDER / f"arviz_{generation}.nc.gz"


def read(generation: str, folder: Path) -> Any:
    """What is in it, read by the ArviZ that is installed."""
    file = folder / "posterior.nc"
    file.write_bytes(gzip.decompress(path_of(generation).read_bytes()))
    return az.from_netcdf(str(file))


def build() -> Any:
    """Particles of two people with coordinates of the user's, which needs no sampler."""
    latents = {"z": torch.linspace(-1.0, 1.0, 24).reshape(12, 2, 1)}
    log_likelihood = -latents["z"][..., 0].square() / 2
    zeros = torch.zeros(12, 2)
    particles = lv.Particles(latents, zeros, log_likelihood, zeros)
    with warnings.catch_warnings():
        # So few particles have no Pareto k.
        warnings.simplefilter("ignore", lv.arviz.UnreliablePosteriorWarning)
        return lv.to_arviz(
            particles,
            num_chains=2,
            num_draws=4,
            coords={"data": ["Ann", "Bo"]},
            constant_data={"age": [31.0, 40.0]},
            dims={"age": ["data"]},
        )


def write() -> None:
    """Writes the file of the ArviZ that is installed."""
    generation = "1" if az.__version__ >= "1" else "0.23"
    with TemporaryDirectory() as folder:
        file = Path(folder) / "posterior.nc"
        build().to_netcdf(str(file))
        path_of(generation).write_bytes(gzip.compress(file.read_bytes(), mtime=0))


if __name__ == "__main__":
    write()
