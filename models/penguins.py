"""Penguins of three species: a table of measurements and categories, some of them missing.

`lvkam fit penguins --set num_epochs=200` reaches -4.3 nats per held-out penguin in 15 CPU seconds;
one normal law of the measurements beside independent categories has -7.1.
"""

import csv

import torch
from torch import Tensor

import lvkam_pyro as lv

_MEASUREMENTS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
_CATEGORIES = {
    "species": ("Adelie", "Chinstrap", "Gentoo"),
    "island": ("Biscoe", "Dream", "Torgersen"),
    "sex": ("female", "male"),
}
_NUM_TEST = 68


def build(
    *, num_latents: int = 2, num_components: int = 3, grid_size: int = 8, scale: float = 0.5
) -> lv.LVKAM:
    """Builds the model.

    Args:
        num_latents: Latents.
        num_components: Components of each latent's mixture of energy densities.
        grid_size: Cells of all splines.
        scale: The noise's standard deviation to start from, in the measurements' own.
    """
    basis = lv.BSplineBasis(grid_size=grid_size)
    likelihood = lv.JointLikelihood(
        [
            lv.NormalLikelihood(len(_MEASUREMENTS), scale=scale),
            *[lv.CategoricalLikelihood(1, len(names)) for names in _CATEGORIES.values()],
        ]
    )
    prior = lv.MixturePrior(num_latents, num_components=num_components, basis=basis)
    return lv.LVKAM(
        prior, lv.KANGenerator(num_latents, likelihood.num_outputs, basis=basis), likelihood
    )


def load_data(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Loads 274 penguins to train on and 68 to hold out, each of 7 columns.

    First come the bill's length and depth, the flipper's length and the body's mass, of mean zero
    and unit variance; then species, island and sex as 0, 1, 2 in alphabetical order. The sex of 9
    is not known: -1. Two that nobody measured are left out. The table is that of palmerpenguins
    (Horst, Hill and Gorman 2020, https://doi.org/10.5281/zenodo.3960218).

    Args:
        seed: Of the split.
    """
    file = lv.programs.find_package_file(
        "palmerpenguins", "data/penguins.csv", requirement="palmerpenguins>=0.1.6"
    )
    with file.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["body_mass_g"] not in {"", "NA"}]
    measured = torch.tensor([[float(row[name]) for name in _MEASUREMENTS] for row in rows])
    measured = (measured - measured.mean(0)) / measured.std(0)
    codes = [[_code(row[name], names) for name, names in _CATEGORIES.items()] for row in rows]
    table = torch.cat([measured, torch.tensor(codes)], 1)
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
    return table[order[_NUM_TEST:]], table[order[:_NUM_TEST]]


def _code(name: str, names: tuple[str, ...]) -> float:
    return float(names.index(name)) if name in names else -1.0
