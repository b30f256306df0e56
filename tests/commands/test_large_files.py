"""`lvkam fit --data` with a file larger than the memory that it may have."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
SHAPE = (5_000_000, 16)
"""320 MB in single precision."""

LIMITED = """
import resource, sys
from pathlib import Path
from lvkam_pyro.cli import main

used = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
limit = used + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_file_is_trained_on_in_half_of_its_size(tmp_path: Path) -> None:
    """Read, checked for NaN, split, hashed, trained on, drawn: never as a whole."""
    shown = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=SHAPE)
    shown[:] = np.arange(16)
    shown[::2] += 1
    command = ["fit", "two_moons", "--data", "x.npy", "--inference", "importance", "--set"]
    options = ["batch_size=20000", "num_particles=8", "inference.num_epochs=1"]
    half = str(shown.nbytes // 2)
    # Large blocks go back to the system when they are freed: the C library's heap hoards them.
    own = {"PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "1000000", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, half, *command, *options],
        cwd=tmp_path, env={**os.environ, **own}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on 1000000 held-out data" in done.stdout
    assert json.loads((tmp_path / "runs/two_moons/settings.json").read_text())
