"""Models that do not behave: each mistake is one message."""

import numpy as np
import pytest
import torch

from augmix.data.sources import Source
from augmix.errors import RunError
from augmix.evaluation.loop import evaluate
from augmix.evaluation.predictor import Predictor, describe_model, fingerprint, ready
from augmix.models.weights import build_model
from augmix.models.wrapper import Ensemble, hash_weights
from augmix.models.wrapper import OpenedModel as Wrapped
from augmix.results import CellKey

CPU = torch.device("cpu")


class Acting(torch.nn.Module):
    """Does something before it gives zeros."""

    def __init__(self, act) -> None:
        super().__init__()
        self.act = act

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.act(images)
        return torch.zeros(len(images), 3)


def run(model: torch.nn.Module, num_images: int = 8) -> np.ndarray:
    predictor = Predictor(model=model, device=CPU, precision="fp32", num_classes=3)
    images = np.zeros((num_images, 3, 16, 16), np.float32)
    return predictor.logits(images, CellKey("c", "fog", 2), np.arange(num_images))


def test_a_model_that_keeps_a_tensor_elsewhere_is_refused() -> None:
    elsewhere = torch.ones(16, device="meta")  # a device every machine has
    message = "put on cpu, but a part of it computes elsewhere .*parameters or buffers"
    with pytest.raises(RunError, match=message):
        run(Acting(lambda images: images + elsewhere))


def test_too_little_memory_suggests_a_batch_size() -> None:
    def overflow(images: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    with pytest.raises(RunError, match="batch of 8 images of 16x16; try --batch-size 4"):
        run(Acting(overflow))


def test_other_errors_of_a_model_come_out_as_they_are() -> None:
    def fail(images: torch.Tensor) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(Acting(fail))


def test_logits_that_are_not_finite_name_the_perturbation(source: Source) -> None:
    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 3), torch.inf)

    with pytest.raises(RunError, match=r"not finite for translate \(p\), first for image 0"):
        evaluate(Broken(), source, suite=("p",), sequences=("translate",))


def test_the_fingerprint_is_the_models_own_if_it_has_one() -> None:
    torch.manual_seed(0)
    network = build_model("small", num_classes=3)
    assert fingerprint(network) == hash_weights(network)
    first, second = (Wrapped(network, name=name, fingerprint=name) for name in ("a", "b"))
    assert fingerprint(first) == "a"
    pair = Ensemble([first, second])
    assert fingerprint(pair) == pair.fingerprint
    bare = Ensemble([network])  # a member without a fingerprint of its own
    assert fingerprint(bare) == hash_weights(bare)


def test_a_model_is_described_by_what_it_says_of_itself() -> None:
    network = build_model("small", num_classes=3)
    facts = describe_model(network)
    assert (facts["name"], facts["num_classes"], facts["adaptation"]) == ("small", 3, "")
    assert facts["num_parameters"] == sum(value.numel() for value in network.parameters())
    plain = describe_model(torch.nn.Linear(2, 3))
    assert (plain["name"], plain["num_classes"], plain["num_parameters"]) == ("Linear", None, 9)


def test_the_mode_of_every_layer_comes_back_after_an_error() -> None:
    network = build_model("small", num_classes=3).train()
    next(iter(network.children())).eval()
    modes = [module.training for module in network.modules()]

    def fail() -> None:
        with ready(network, CPU):
            assert not any(module.training for module in network.modules())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [module.training for module in network.modules()] == modes


class Linear(torch.nn.Module):
    """Three classes by the means of the channels, in a form that ``finish`` chooses."""

    def __init__(self, finish) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3, bias=False)
        torch.nn.init.eye_(self.layer.weight)
        self.finish = finish

    def forward(self, images: torch.Tensor):
        return self.finish(9 * self.layer(images.mean((2, 3))))


def test_a_module_may_have_other_floats_and_a_record_of_outputs(source: Source) -> None:
    usual = evaluate(Linear(lambda logits: logits), source, suite=("clean",))
    for model in (
        Linear(lambda logits: {"logits": logits}),
        Linear(lambda logits: logits).half(),
        Linear(lambda logits: logits).double(),
    ):
        found = evaluate(model, source, suite=("clean",))
        assert found.cells[0].num_errors == usual.cells[0].num_errors
        assert found.cells[0].nll == pytest.approx(usual.cells[0].nll, rel=1e-3)


def test_a_module_that_gives_probabilities_is_refused(source: Source) -> None:
    with pytest.raises(RunError, match="Linear gives probabilities .*outputs="):
        evaluate(Linear(lambda logits: logits.softmax(1)), source, suite=("clean",))


def test_an_exported_program_is_measured(source: Source) -> None:
    network = build_model("small", num_classes=3).eval()
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(network, (torch.rand(2, 3, 16, 16),), dynamic_shapes=dynamic)
    found = evaluate(program.module(), source, suite=("clean",))
    usual = evaluate(network, source, suite=("clean",))
    assert found.cells[0].num_errors == usual.cells[0].num_errors
