"""Factored likelihoods beside torch's own, where all particles meet all data.

A log density of 128 data at 256 particles and its gradient, in float32 on one thread. What counts
is the ratio of CPU times in alternating blocks.

    OMP_NUM_THREADS=1 python benchmarks/likelihoods.py
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Normal

from lvkam_pyro.likelihoods.bernoulli import FactoredBernoulli
from lvkam_pyro.likelihoods.categorical import FactoredCategorical
from lvkam_pyro.likelihoods.normal import FactoredNormal

NUM_PARTICLES, NUM_DATA, NUM_OUTPUTS, NUM_BLOCKS = 256, 128, 784, 7
NUM_PLACES, NUM_CATEGORIES = 16, 27
SCALE = torch.tensor(0.1)

Law = Callable[[Tensor], Distribution]


def cpu_time(law: Law, parameter: Tensor, data: Tensor) -> float:
    start = time.process_time()
    log_prob = law(parameter).log_prob(data)
    total = log_prob if log_prob.shape == (NUM_PARTICLES, NUM_DATA) else log_prob.sum(-1)
    torch.autograd.grad(total.sum(), parameter)
    return time.process_time() - start


def main() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(NUM_PARTICLES, 1, NUM_OUTPUTS, requires_grad=True)
    letters = torch.randn(NUM_PARTICLES, 1, NUM_PLACES, NUM_CATEGORIES, requires_grad=True)
    x = torch.randn(NUM_DATA, NUM_OUTPUTS)
    tokens = torch.randint(NUM_CATEGORIES, (NUM_DATA, NUM_PLACES)).float()
    cases: dict[str, tuple[Law, Law, Tensor, Tensor]] = {
        "normal, 784": (
            lambda m: FactoredNormal(m, SCALE, validate_args=False),
            lambda m: Normal(m, SCALE, validate_args=False),
            outputs,
            x,
        ),
        "Bernoulli, 784": (
            lambda m: FactoredBernoulli(m, validate_args=False),
            lambda m: Bernoulli(logits=m, validate_args=False),
            outputs,
            (x > 0).float(),
        ),
        "categorical, 16 x 27": (
            lambda m: FactoredCategorical(m, validate_args=False),
            lambda m: Categorical(logits=m, validate_args=False),
            letters,
            tokens,
        ),
    }
    print(f"{'likelihood':<24}{'ms':>8}{'times faster':>14}")
    for name, (ours, torchs, parameter, data) in cases.items():
        blocks = [
            (cpu_time(ours, parameter, data), cpu_time(torchs, parameter, data))
            for _ in range(NUM_BLOCKS + 1)
        ][1:]
        own = statistics.median(block[0] for block in blocks)
        ratio = statistics.median(block[1] / block[0] for block in blocks)
        print(f"{name:<24}{1000 * own:>8.2f}{ratio:>14.1f}")


if __name__ == "__main__":
    main()
