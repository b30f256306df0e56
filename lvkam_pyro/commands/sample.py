"""`lvkam sample`: new data from a fitted model."""

import io

import numpy as np

from lvkam_pyro import plots
from lvkam_pyro.commands.pictures import draw_data, image_shape_of, save
from lvkam_pyro.commands.setup import load_run
from lvkam_pyro.options import check_count
from lvkam_pyro.training.runs.files import write_atomically


def sample_command(run: str, *, num_samples: int = 1000, seed: int = 0, device: str = "cpu") -> str:
    """Draws data from the model of a run, into `samples.npy` and `plots/samples.png`.

    Args:
        run: A run folder, or the name of a model whose folder is `runs/NAME`.
        num_samples: Draws.
        seed: Of the draws.
        device: Where to compute.

    Returns:
        Where they are, for the terminal.

    Raises:
        ValueError: If there is no draw to make, or the run cannot be rebuilt.

    Example:
        lvkam sample digits --num-samples 64
    """
    check_count("num_samples", num_samples)
    found = load_run(run, device=device)
    like = found.x[:1].expand(num_samples, *found.x.shape[1:])
    samples = draw_data(found.fit.model, like, seed=seed)
    content = io.BytesIO()
    np.save(content, samples.cpu().numpy())
    path = found.folder.path / "samples.npy"
    write_atomically(path, content.getvalue())
    shape = image_shape_of(found.setup, samples)
    picture = found.folder.picture("samples")
    save(plots.samples(found.x_test, samples, image_shape=shape), picture)
    return f"{path}: {num_samples} samples of shape {tuple(samples.shape[1:])}; {picture}"
