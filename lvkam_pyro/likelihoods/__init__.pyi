"""The public names of the room, which load on first use."""

from .discrete_likelihoods import BernoulliLikelihood, CategoricalLikelihood
from .joint_likelihood import JointLikelihood
from .normal import NormalLikelihood
from .quantized_likelihood import QuantizedLikelihood
from .quantized_logistic import QuantizedLogistic

__all__ = [
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "JointLikelihood",
    "NormalLikelihood",
    "QuantizedLikelihood",
    "QuantizedLogistic",
]
