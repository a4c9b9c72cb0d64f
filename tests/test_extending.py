"""The examples of `docs/extending.md` run in order, outside the package, with public names only."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import augmix
from augmix import methods, report
from augmix.augment import stages
from augmix.corruptions.registry import CORRUPTIONS
from augmix.data.sources import SOURCES

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


@pytest.fixture
def forget():
    """Remove what the page registers."""
    yield
    methods.METHODS.pop("tinted-augmix", None)
    stages._STAGES.pop("tint", None)
    CORRUPTIONS.pop("dimmed", None)
    SOURCES.pop("stripes", None)
    report.METRICS.pop("overconfident", None)


@pytest.mark.usefixtures("forget")
def test_examples_run_and_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 10
    (tmp_path / "extension.py").write_text("\n\n".join(blocks))
    monkeypatch.syspath_prepend(str(tmp_path))
    names = vars(importlib.import_module("extension"))
    untinted = augmix.render(
        names["images"], names["tinted"].without(names["Tint"]), executor="pillow"
    )
    ratio = names["compiled"].sum(axis=(3, 4)) / untinted.sum(axis=(3, 4))
    assert np.allclose(ratio, 1 - names["tinted"].find(names["Tint"]).loss, atol=1e-5)
    clean = augmix.render(names["images"], names["layered"])[2].transpose(0, 2, 3, 1)
    assert np.array_equal(np.rint(clean * 255), names["images"])
    with pytest.raises(ValueError, match="CleanLast leaves 0 of 1 views .* so none shows augmix"):
        augmix.TrainConfig(method=methods.AugMix(policy=names["layer"], num_views=1))
    batched = augmix.render(names["images"], names["tinted"], executor="batched")
    assert np.allclose(np.asarray(batched), names["compiled"], atol=1 / 255)
    assert "Overconfident errors" in names["page"].read_text()
    assert "dimmed" in names["page"].read_text()
    assert "overconfident" in Path("runs/report.csv").read_text()
    assert "Overconfident errors" in Path("runs/report.tex").read_text()
