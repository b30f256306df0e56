"""The public names of the room, which load on first use."""

from .batches import WholeDataWarning
from .grid_updates import GridUpdates
from .importance_weighted import ImportanceWeightedBound
from .loop import fit
from .objective import EmpiricalBayes
from .recipe import EarlyStopping, Recipe
from .regularizers import Smoothness, Sparsity
from .starts.pca import PCAStart, start_additive, start_vague

__all__ = [
    "EarlyStopping",
    "EmpiricalBayes",
    "GridUpdates",
    "ImportanceWeightedBound",
    "PCAStart",
    "Recipe",
    "Smoothness",
    "Sparsity",
    "WholeDataWarning",
    "fit",
    "start_additive",
    "start_vague",
]
