"""The README's example runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

from lvkam_pyro.guides.prior import PriorGuide
from lvkam_pyro.training.objective import EmpiricalBayes

README = Path(__file__).parents[1] / "README.md"


def test_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {"__name__": "readme"}
    for example in examples:
        exec(compile(example, str(README), "exec"), names)
    printed = capsys.readouterr().out
    assert "Importance" in printed
    assert "SteppingStone" in printed
    assert (tmp_path / "iris.nc").is_file()
    model = names["Digits"]()
    loss = EmpiricalBayes(4)(model, PriorGuide(model))(torch.rand(5, 64))
    assert torch.isfinite(loss)


def test_pictures_exist() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README.read_text(encoding="utf-8"))
    assert pictures
    for picture in pictures:
        assert (README.parent / picture).is_file(), picture
