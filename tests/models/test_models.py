"""The bundled models: their data, and that each is a model of them."""

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from lvkam_pyro.guides.particles import draw_particles
from lvkam_pyro.guides.prior import PriorGuide
from lvkam_pyro.programs import load_program, program_names

SHAPES = {
    "digits": ((1437, 64), (360, 64)),
    "linear_gaussian": ((400, 5), (100, 5)),
    "two_moons": ((1600, 2), (400, 2)),
}


@pytest.mark.parametrize("name", program_names("model"))
def test_data_repeat_with_the_seed_and_leave_the_random_state_alone(name: str) -> None:
    program = load_program("model", name).module
    before = torch.get_rng_state()
    train, test = program.load_data(seed=3)
    again, _ = program.load_data(seed=3)
    other, _ = program.load_data(seed=4)
    assert (tuple(train.shape), tuple(test.shape)) == SHAPES[name]
    assert train.dtype == test.dtype == torch.float32
    assert torch.equal(train, again)
    assert not torch.equal(train, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", program_names("model"))
def test_model_has_particles_of_its_data(name: str) -> None:
    program = load_program("model", name)
    _, x = program.module.load_data()
    model = program.build({})
    particles = draw_particles(model, PriorGuide(model), x[:5], 7)
    assert particles.log_weights.shape == (7, 5)
    assert particles.log_weights.isfinite().all()


def test_digits_are_dequantised_and_split_without_overlap() -> None:
    train, test = load_program("model", "digits").module.load_data()
    pixels = torch.cat([train, test])
    assert 0 <= pixels.min() < 0.01
    assert 0.99 < pixels.max() <= 1
    levels = (pixels * 17).floor().clamp(max=16)
    assert set(levels.unique().tolist()) == set(map(float, range(17)))
    assert len(pixels.unique(dim=0)) == 1797


def test_exact_log_evidence_is_the_integral_over_the_latent() -> None:
    program = load_program("model", "linear_gaussian")
    model = program.build({"num_latents": 1, "num_outputs": 2})
    x = torch.tensor([[0.3, -0.8]])
    weight, mean = model.weight.detach()[0], model.mean.detach()
    scale = model.log_scale.detach().exp()

    def joint(z: float) -> float:
        return float(norm.pdf(z) * norm.pdf(x[0], mean + weight * z, scale).prod())

    exact = torch.tensor(quad(joint, -10, 10)[0]).log()
    found = program.module.exact_log_evidence(model, x)
    torch.testing.assert_close(found, exact.reshape(1).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["num_latents", "num_outputs"])
@pytest.mark.parametrize("model", program_names("model"))
def test_model_of_nothing_is_refused(model: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"Cannot build the model {model}: "):
        load_program("model", model).build({name: "0"})
