"""The public names of the room, which load on first use."""

from .bernoulli import BernoulliLikelihood
from .categorical import CategoricalLikelihood
from .factored import Likelihood
from .joint import JointLikelihood
from .normal import NormalLikelihood
from .quantized import QuantizedLikelihood, QuantizedLogistic

__all__ = [
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "JointLikelihood",
    "Likelihood",
    "NormalLikelihood",
    "QuantizedLikelihood",
    "QuantizedLogistic",
]
