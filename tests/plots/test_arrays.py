"""Images are put together without touching each other."""

import numpy as np

from lvkam_pyro.plots._arrays import mosaic


def test_mosaic_separates_images_by_one_pixel() -> None:
    sheet = mosaic(np.ones((3, 2, 2)), num_columns=2)
    assert sheet.shape == (5, 5)
    assert np.isnan(sheet[2]).all()
    assert np.isnan(sheet[:, 2]).all()
    assert np.nansum(sheet) == 12
