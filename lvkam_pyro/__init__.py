"""The Latent Variable Kolmogorov-Arnold Model as a probabilistic-programming library on Pyro.

The names here are those of a first notebook; the rest is in the rooms, ``lvkam_pyro.<room>``.
All load on first use (PEP 562), so that ``import lvkam_pyro`` costs little although the
diagnostics stand on ArviZ and matplotlib. The stub beside this file is the table of the names.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.2.0"
