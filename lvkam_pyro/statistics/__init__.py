"""Arrays in, arrays out: weights, effective sizes, R-hat, resampling, jackknife, uniformity."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
