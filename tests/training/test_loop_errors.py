"""What torch says when a step goes wrong comes out as a message with a way out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from toy_runs import read_weights, toy_config

from augmix.data.batches import BatchOrder
from augmix.errors import RunError
from augmix.training import checkpoint
from augmix.training.config import OptimisationConfig
from augmix.training.forecast import forecast_run
from augmix.training.loop import check_smallest_part, explain_errors
from augmix.training.run import prepared, train
from augmix.training.step import Learner

CPU = torch.device("cpu")


class BackendFailed(RuntimeError):
    """Stands for what the compiler raises."""


BackendFailed.__module__ = "torch._dynamo.exc"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_too_little_memory_says_what_needs_less(error: Exception) -> None:
    recipe = OptimisationConfig(batch_size=128, accumulate=2)
    message = (
        "cpu has too little memory for a step of 128 images in 2 part.s.: take --accumulate 4, the "
        "same step in half the memory .*, or a --batch-size of 64; the last checkpoint is kept"
    )
    with pytest.raises(RunError, match=message), explain_errors(recipe, CPU):
        raise error


def test_a_batch_of_one_has_no_smaller_one() -> None:
    with pytest.raises(RunError) as caught, explain_errors(OptimisationConfig(batch_size=1), CPU):
        raise MemoryError
    assert "--batch-size" not in str(caught.value)


def test_the_allocators_own_words_are_known() -> None:
    """An allocation that no machine can make, by torch itself."""
    with (
        pytest.raises(RunError, match="too little memory for a step"),
        explain_errors(OptimisationConfig(), CPU),
    ):
        torch.empty(2**62, dtype=torch.uint8)


def test_what_cannot_be_deterministic_or_compiled_is_named() -> None:
    text = "reflection_pad2d does not have a deterministic implementation, but you set"
    with (
        pytest.raises(RunError, match=r"no deterministic form .* leave out --deterministic"),
        explain_errors(OptimisationConfig(deterministic=True), CPU),
    ):
        raise RuntimeError(text)
    with (
        pytest.raises(RunError, match=r"cannot build this step here .no compiler.*--compile"),
        explain_errors(OptimisationConfig(compile=True), CPU),
    ):
        raise BackendFailed("no compiler")
    with pytest.raises(BackendFailed), explain_errors(OptimisationConfig(), CPU):
        raise BackendFailed("no compiler")


def test_other_errors_stay_what_they_are() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes do not fit"),
        explain_errors(OptimisationConfig(), CPU),
    ):
        raise RuntimeError("shapes do not fit")


def test_a_run_that_meets_it_keeps_its_checkpoint_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(toy_config(tmp_path / "whole"))
    config = toy_config(tmp_path / "run")
    backward, calls = Learner.backward, []

    def full(learner: Learner, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise torch.OutOfMemoryError("out of memory")
        return backward(learner, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "backward", full)
        with pytest.raises(RunError, match="too little memory for a step of 8 images"):
            train(config)
    state = checkpoint.load_state(config.run.out)
    assert state is not None
    assert state.step == 4
    train(config)
    assert read_weights(config.run.out) == read_weights(whole)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name / "big").mkdir(parents=True)
        image = Image.new("RGB", (16, 16))
        image.save(tmp_path / "photos" / name / "big" / "1.png")
    config = toy_config(tmp_path / "run", source="folder", data=str(tmp_path / "photos" / "ant"))
    with pytest.raises(
        RunError, match=r"of the class 'big'.* .*photos holds the folders ant, bee:"
    ):
        train(config)


def test_a_last_batch_of_one_image_is_refused_before_training(tmp_path: Path) -> None:
    """Batch norm at maps of one pixel has one value a channel: it used to end after an epoch."""
    settings = {"method": "standard", "model": "resnet18", "dropout": 0.0, "batch_size": 19}
    config = toy_config(tmp_path / "run", **settings)
    for start in (train, forecast_run):
        with pytest.raises(
            RunError, match="a step would have one image, .*another --batch-size, e.g. 20"
        ):
            start(config)
    assert not (tmp_path / "run" / "log.jsonl").exists()
    with prepared(toy_config(tmp_path / "b", **{**settings, "model": "small"})) as run:
        order = BatchOrder(num_images=20, batch_size=19, seed=0)
        check_smallest_part(run, order, 1)  # its last maps are larger
