"""Trains in children that are killed, each going on where the last one was, until one finishes.

Run by test_kills.py in a process of its own, which forks: modules are imported once for all kills.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from threading import RLock

import torch
from tqdm.auto import tqdm

import lvkam_pyro as lv
from lvkam_pyro.training.loop import Fit, fit
from lvkam_pyro.training.runs import files, journal
from lvkam_pyro.training.runs.checkpoint import load_checkpoint
from tests.training.toy import FactorModel, toy_data, toy_recipe

MAX_CHILDREN = 1000


def train_toy(folder: Path | None) -> Fit:
    torch.manual_seed(0)
    options = {"folder": folder, "resume": True, "progress": False}
    return fit(FactorModel(), toy_data(), toy_recipe(num_epochs=6), **options)


def train_everything(folder: Path | None) -> Fit:
    """Learned prior, encoder, clipping, moving grids, early stopping."""
    torch.manual_seed(0)
    basis = lv.BSplineBasis(grid_size=4)
    x = toy_data(100)
    model = lv.LVKAM(
        lv.MixturePrior(2, num_components=2, basis=basis),
        lv.KANGenerator(2, 3, basis=basis),
        lv.NormalLikelihood(3, scale=0.5),
    )
    recipe = toy_recipe(
        build_guide=lambda model, x: lv.AmortizedGuide(model, x, hidden=(4,)),
        objective=lv.EmpiricalBayes(4, sleep_weight=0.5),
        num_epochs=30,
        max_gradient_norm=5.0,
        grid_updates=lv.training.GridUpdates(
            schedule=lv.kan.GridSchedule(every=5), move_prior=True
        ),
        early_stopping=lv.training.EarlyStopping(patience=None),
    )
    options = {"folder": folder, "resume": True, "progress": False}
    return fit(model, x[:80], recipe, x_validation=x[80:], x_test=x[80:], **options)


TRAININGS = {"toy": train_toy, "everything": train_everything}


def kill_at_write(number: int) -> None:
    """Makes this process die at its n-th flush or replacement of a file, before or after it."""
    calls = iter(range(10**6))
    fsync, replace = os.fsync, os.replace

    def dying(function: object) -> object:
        def call(*arguments: object) -> None:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            function(*arguments)
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        return call

    files.os.fsync, files.os.replace = dying(fsync), dying(replace)


def train_in_child(training: str, folder: Path, *, dies_at_write: int | None) -> int:
    child = os.fork()
    if child == 0:
        # tqdm's lock is shared by processes that fork, so a kill that holds it would stop them all.
        tqdm.set_lock(RLock())
        journal.SECONDS_BETWEEN_WRITES = 0.0
        if dies_at_write is not None:
            kill_at_write(dies_at_write)
        TRAININGS[training](folder)
        os._exit(0)
    return child


def survives(child: int) -> bool:
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, f"the training failed: {status}"
    return status == 0


def main(training: str, folder: Path, kind: str) -> None:
    expected = TRAININGS[training](None)
    kills, clock = 0, random.Random(training + kind)
    epochs = [0]
    while kills < MAX_CHILDREN:
        at_write = clock.randrange(24) if kind == "writes" else None
        child = train_in_child(training, folder, dies_at_write=at_write)
        if kind == "times":
            time.sleep(clock.uniform(0.0, 0.2))
            os.kill(child, signal.SIGKILL)
        if survives(child):
            break
        kills += 1
        if (folder / "checkpoint.pt").exists():
            epochs.append(len(load_checkpoint(folder / "checkpoint.pt")["metrics"]))
    assert epochs == sorted(epochs), "a kill lost an epoch that had been written"
    fitted = TRAININGS[training](folder)
    for module in ("model", "guide"):
        a, b = (getattr(each, module).state_dict() for each in (expected, fitted))
        assert all(torch.equal(a[name], b[name]) for name in a), f"the {module}s differ"
    rows = [
        [{key: row[key] for key in row if key != "seconds"} for row in each.metrics]
        for each in (expected, fitted)
    ]
    assert rows[0] == rows[1]
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + len(rows[0])
    print(f"{kills} kills, in {len(set(epochs))} different epochs")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
