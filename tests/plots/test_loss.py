"""The scale of the losses is that of most epochs."""

import lvkam_pyro as lv

METRICS = [{"epoch": e, "loss_per_datum": 9 / e} for e in range(1, 9)]


def test_loss_looks_past_a_steep_start() -> None:
    steep = [{"epoch": e, "loss_per_datum": 1e4 / e**4} for e in range(1, 101)]
    assert lv.plots.loss(steep).get_ylim()[1] < 10
    assert lv.plots.loss(METRICS).get_ylim()[1] > METRICS[0]["loss_per_datum"]
