"""Steps towards the constants of a formula: never uphill, and fast at the end."""

import pytest
import torch
from torch import Tensor

from lvkam_pyro.kan.symbolic.refinement import Candidates, families, project, refine
from tests.kan.symbolic.samples import SAMPLES, Sample

every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


def unit(y: Tensor) -> Tensor:
    centred = y - y.mean()
    return (centred / centred.norm()).unsqueeze(0)


def start(sample: Sample, a: float, b: float) -> Candidates:
    """The formula of a sample with all constants free, started off by these amounts."""
    family = next(families(sample.formula.form))
    first = sample.z.new_tensor([[sample.formula.a + a * family.has_scale]])
    return Candidates([family], first, sample.z.new_tensor([[sample.formula.b + b]]))


@every_sample
@pytest.mark.parametrize(("a", "b"), [(0.3, -0.2), (-0.1, 0.1), (5.0, 2.0)])
def test_loss_never_rises(sample: Sample, a: float, b: float) -> None:
    candidates, y = start(sample, a, b), unit(sample.y + 0.1 * sample.z.sin())
    losses = [project(candidates, sample.z, y).loss.item()]
    for _ in range(5):
        candidates = refine(candidates, sample.z, y, num_steps=1)
        losses.append(project(candidates, sample.z, y).loss.item())
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("name", ["sin", "tanh", "gaussian", "exp", "log", "arctan"])
def test_a_few_steps_reach_the_rounding(name: str) -> None:
    sample = SAMPLES[name]
    y = unit(sample.y)
    candidates = refine(start(sample, 0.05, 0.0), sample.z, y, num_steps=7)
    assert project(candidates, sample.z, y).loss < 1e-20


@pytest.mark.parametrize("name", ["tanh", "arctan", "softplus", "log", "1/x"])
def test_step_that_is_too_long_is_shortened_until_it_helps(name: str) -> None:
    """From here full steps of Gauss and Newton lead nowhere."""
    sample = SAMPLES[name]
    y = unit(sample.y)
    candidates = refine(start(sample, -0.6, 1.0), sample.z, y, num_steps=60)
    assert project(candidates, sample.z, y).loss < 1e-20


@every_sample
def test_outer_constants_are_least_squares(sample: Sample) -> None:
    family = next(families(sample.formula.form))
    if not family.form.has_scale and not family.form.has_shift:
        return
    y = unit(sample.z.sin() + sample.z.square())
    fit = project(start(sample, 0.0, 0.0), sample.z, y)
    form = sample.formula.form(sample.formula.a * sample.z + sample.formula.b)
    design = torch.stack([form, torch.ones_like(form)], 1)
    solution = torch.linalg.lstsq(design, y.T).solution.flatten()
    torch.testing.assert_close(torch.stack([fit.c, fit.d]).flatten(), solution)
    torch.testing.assert_close(
        fit.loss.flatten(), (y[0] - design @ solution).square().sum().view(1)
    )


def test_projected_gradient_is_that_of_the_loss() -> None:
    sample, y = SAMPLES["gaussian"], unit(SAMPLES["sin"].y)
    step = 1e-6
    fit = project(start(sample, 0.0, 0.0), sample.z, y)
    for index, (a, b) in enumerate([(step, 0.0), (0.0, step)]):
        above, below = (project(start(sample, s * a, s * b), sample.z, y).loss for s in (1, -1))
        numeric = (above - below) / (2 * step)
        # The derivative of the squared residual -2 c (P w . r), of which the gradient is P w . r.
        torch.testing.assert_close(-2 * fit.c * fit.gradient[index], numeric, rtol=1e-6, atol=1e-9)
