"""A problem: a model, data and the exact answer."""

from dataclasses import dataclass

from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments, Program

Answered = tuple[Program, Tensor, Tensor]
"""A model, its data `(N, ...)` and their exact log evidence in float64, `(N,)` or `(1,)`."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A Pyro model with data whose log evidence is known.

    Attributes:
        name: What `load_problem` finds it by.
        title: What it is, in a few words.
        model: The Pyro model, of one tensor: a data plate along its first axis, or latents that all
            data share.
        x: The data, of shape `(N, ...)`.
        log_evidence: The exact log p(x_n), `(N,)` in float64, in nats; `(1,)` where some latent is
            shared by all data.
        source: How the exact answer is known.
        blind_spot: Why every estimator is expected to miss it; empty where none should.

    Raises:
        TypeError: If the data are no tensor.
        ValueError: If the data are empty or not finite, or there is neither one answer a datum nor
            one in all.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> problem.source, problem.x.shape
        ('closed form', torch.Size([4, 10]))
    """

    name: str
    title: str
    model: Program
    x: Tensor
    log_evidence: Tensor
    source: str
    blind_spot: str = ""

    def __post_init__(self) -> None:
        Arguments((self.x,), {}).check()
        if self.log_evidence.shape not in {(len(self.x),), (1,)}:
            raise ValueError(
                f"Expected the exact log evidence of {len(self.x)} data, of shape "
                f"({len(self.x)},), but got shape {tuple(self.log_evidence.shape)}. Give one value "
                "a datum, or one of them all."
            )

    @property
    def num_data(self) -> int:
        """The number of answers: of the data N, or 1 where they are one unit."""
        return len(self.log_evidence)
