"""Losses against values worked by hand, the released code's formula, and their gradients."""

import inspect
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.methods.attacks import Attack, pgd
from augmix.methods.losses import Adversarial, Consistency, CrossEntropy, JSDLoss, jsd_loss
from augmix.models.weights import build_model

WORKED = torch.tensor(
    [
        [[2.0, 0, -1], [0, 1, 0]],
        [[1.0, 1, 0], [0, 2, 0]],
        [[0.0, 0, 0], [1, 1, -2]],
    ]
)
LABELS = torch.tensor([0, 1])
unchecked = inspect.unwrap  # past the checker of shapes, to the messages users see


def released(logits: Tensor, targets: Tensor, weight: float) -> Tensor:
    """The loss as the released training script computes it, for any number of views."""
    loss = F.cross_entropy(logits[0], targets)
    p = F.softmax(logits, dim=2)
    log_mixture = torch.clamp(sum(p) / len(p), 1e-7, 1).log()  # pyright: ignore
    terms = [F.kl_div(log_mixture, view, reduction="batchmean") for view in p]
    return loss + weight * sum(terms) / len(terms)


def by_hand(logits: np.ndarray, labels: list[int], weight: float) -> float:
    """Scalar loops and `math` alone."""
    views, batch, classes = logits.shape
    total = 0.0
    for image in range(batch):
        p = []
        for view in range(views):
            exps = [math.exp(float(value)) for value in logits[view, image]]
            p.append([value / sum(exps) for value in exps])
        total -= math.log(p[0][labels[image]]) / batch
        for k in range(classes):
            mixture = min(max(sum(p[view][k] for view in range(views)) / views, 1e-7), 1.0)
            for view in range(views):
                share = p[view][k] * (math.log(p[view][k]) - math.log(mixture))
                total += weight * share / views / batch
    return total


class TestJsdLoss:
    def test_worked_example(self):
        # metrics.md section 3
        assert float(jsd_loss(WORKED.double(), LABELS, 0.0)) == pytest.approx(
            0.3606453667, abs=1e-9
        )
        assert float(jsd_loss(WORKED.double(), LABELS)) == pytest.approx(1.6150640329, abs=1e-9)
        assert float(jsd_loss(WORKED, LABELS)) == pytest.approx(1.6150640329, abs=1e-6)
        only = jsd_loss(WORKED.double(), LABELS, 1.0) - jsd_loss(WORKED.double(), LABELS, 0.0)
        assert float(only) == pytest.approx(0.1045348889, abs=1e-9)

    def test_worked_example_per_image(self):
        for image, expected in enumerate((0.12064155, 0.08842822)):
            logits, label = WORKED.double()[:, image : image + 1], LABELS[image : image + 1]
            only = jsd_loss(logits, label, 1.0) - jsd_loss(logits, label, 0.0)
            assert float(only) == pytest.approx(expected, abs=1e-8)

    def test_as_a_module_of_flat_logits(self):
        module = JSDLoss(weight=3.0, label_smoothing=0.1)
        expected = jsd_loss(WORKED, LABELS, 3.0, label_smoothing=0.1)
        assert torch.equal(module(WORKED, LABELS), expected)
        assert torch.equal(module(WORKED.flatten(0, 1), LABELS), expected)
        assert repr(module) == "JSDLoss(weight=3.0, label_smoothing=0.1)"
        with pytest.raises(ValueError, match="5 logits are no whole number of views of 2 targ"):
            module(WORKED.flatten(0, 1)[:5], LABELS)
        with pytest.raises(ValueError, match="at least 2 views"):
            module(WORKED[0], LABELS)

    @pytest.mark.parametrize("num_views", [2, 3, 5])
    def test_any_number_of_views(self, num_views: int):
        generator = torch.Generator().manual_seed(num_views)
        logits = 3 * torch.randn(num_views, 4, 6, generator=generator, dtype=torch.float64)
        labels = torch.tensor([5, 0, 2, 2])
        loss = float(jsd_loss(logits, labels, 12.0))
        assert loss == pytest.approx(by_hand(logits.numpy(), labels.tolist(), 12.0), abs=1e-12)
        assert loss == pytest.approx(float(released(logits, labels, 12.0)), abs=1e-12)

    def test_gradient_of_the_released_code(self):
        ours = (2 * WORKED.double()).requires_grad_()
        theirs = (2 * WORKED.double()).requires_grad_()
        jsd_loss(ours, LABELS).backward()
        released(theirs, LABELS, 12.0).backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
        assert (ours.grad.abs().amax(dim=(1, 2)) > 1e-3).all()  # pyright: ignore

    def test_gradcheck(self):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
        soft = torch.rand(2, 4, generator=generator, dtype=torch.float64)
        soft = (soft / soft.sum(dim=1, keepdim=True)).requires_grad_()
        check = torch.autograd.gradcheck
        assert check(lambda x: jsd_loss(x, LABELS, 12.0, label_smoothing=0.1), (logits,))
        assert check(lambda x, y: jsd_loss(x, y, 12.0), (logits, soft))

    def test_bounds(self):
        logits = torch.full((3, 1, 3), -1e4)
        for view in range(3):
            logits[view, 0, view] = 1e4  # three views certain of three classes
        loss = jsd_loss(logits, torch.tensor([0]))
        assert float(loss) == pytest.approx(12 * math.log(3), rel=1e-6)
        equal = torch.randn(1, 4, 10).expand(3, 4, 10)
        labels = torch.arange(4)
        assert float(jsd_loss(equal, labels)) == pytest.approx(
            float(F.cross_entropy(equal[0], labels)), abs=1e-5
        )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_huge_logits_stay_finite(self, dtype: torch.dtype):
        signs = torch.randint(0, 2, (3, 8, 5), generator=torch.Generator().manual_seed(0))
        logits = ((2.0 * signs - 1) * 1e4).to(dtype).requires_grad_()
        loss = jsd_loss(logits, torch.arange(8) % 5)
        loss.backward()
        assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert torch.isfinite(loss)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_only_an_input(self, dtype: torch.dtype):
        logits = WORKED.to(dtype)  # small integers: exact in both
        assert float(jsd_loss(logits, LABELS)) == pytest.approx(1.6150640329, abs=1e-6)

    def test_soft_rows_equal_ids(self):
        rows = F.one_hot(LABELS, 3)
        assert float(jsd_loss(WORKED, rows.float())) == pytest.approx(
            float(jsd_loss(WORKED, LABELS))
        )
        mixed = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5]])
        expected = F.cross_entropy(WORKED[0], mixed)
        assert float(jsd_loss(WORKED, mixed, 0.0)) == pytest.approx(float(expected), abs=1e-6)

    @pytest.mark.parametrize("soft", [False, True])
    def test_label_smoothing_is_that_of_torch(self, soft: bool):
        targets = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5]]) if soft else LABELS
        expected = F.cross_entropy(WORKED[0], targets, label_smoothing=0.1)
        found = jsd_loss(WORKED, targets, 0.0, label_smoothing=0.1)
        assert float(found) == pytest.approx(float(expected), abs=1e-6)

    def test_labels_of_any_integer_type(self):
        for dtype in (torch.uint8, torch.int32, torch.int64):
            found = jsd_loss(WORKED, LABELS.to(dtype))
            assert float(found) == pytest.approx(1.6150640329, abs=1e-6)

    @pytest.mark.parametrize(
        ("logits", "targets", "message"),
        [
            (torch.zeros(2, 3), LABELS, r"at least 2 views, clean first, got shape \(2, 3\)"),
            (torch.zeros(1, 2, 3), LABELS, r"at least 2 views, clean first, got shape \(1, 2, 3\)"),
            (WORKED, torch.tensor([0, 1, 2]), r"targets must be 2 class ids, .* shape \(3,\)"),
            (WORKED, torch.zeros(2), r"got torch.float32 of shape \(2,\)"),
            (WORKED, torch.zeros(2, 4), r"probabilities of shape \(2, 3\), .* shape \(2, 4\)"),
            (WORKED, torch.tensor([True, False]), r"got torch.bool"),
            (WORKED.long(), LABELS, r"logits must be floating-point"),
            (torch.zeros(2, 0, 3), torch.zeros(0).long(), r"at least 1 image"),
            (WORKED, torch.tensor([0, 3]), r"class ids must be 0..2 for 3 logits, got 3"),
            (WORKED, torch.tensor([-100, 0]), r"class ids must be 0..2 for 3 logits, got -100"),
        ],
    )
    def test_wrong_input(self, logits: Tensor, targets: Tensor, message: str):
        with pytest.raises(ValueError, match=message):
            unchecked(jsd_loss)(logits, targets)

    @pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
    def test_wrong_weight(self, weight: float):
        with pytest.raises(ValueError, match="weight must be a finite number of at least 0, got"):
            jsd_loss(WORKED, LABELS, weight)
        with pytest.raises(ValueError, match="weight must be"):
            Consistency(weight=weight)

    def test_wrong_label_smoothing(self):
        with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\), got 1.0"):
            jsd_loss(WORKED, LABELS, label_smoothing=1.0)
        with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\), got -0.1"):
            CrossEntropy(label_smoothing=-0.1)


class Recorder(nn.Module):
    """A linear model that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []
        self.norm = nn.BatchNorm2d(3, momentum=1.0)
        self.head = nn.Linear(3, 4)

    def forward(self, images: Tensor) -> Tensor:
        self.inputs.append(images)
        return self.head(self.norm(images).mean(dim=(2, 3)))


@pytest.fixture
def views() -> Tensor:
    return torch.rand(3, 5, 3, 6, 7, generator=torch.Generator().manual_seed(0))


IDS = torch.tensor([0, 1, 2, 3, 0])


def rows_of(pairs: list[tuple[int, int, float]]) -> Tensor:
    """Targets of pairs: a share of one class, the rest of another."""
    rows = torch.zeros(len(pairs), 4)
    for row, (own, other, share) in zip(rows, pairs, strict=True):
        row[own] += share
        row[other] += 1 - share
    return rows


SHARES = [(0, 1, 0.7), (1, 3, 0.4), (2, 2, 0.1), (3, 0, 1.0), (0, 2, 0.0)]


class TestSoftTargets:
    def test_cross_entropy_is_the_published_sum_of_two(self, views: Tensor):
        """Mixup's loss: share * CE(own class) + (1 - share) * CE(partner's), image by image."""
        model = Recorder().eval()
        loss = CrossEntropy()(model, views[:1], rows_of(SHARES))
        logits = model(views[0])
        terms = [
            share * F.cross_entropy(row, torch.tensor(own))
            + (1 - share) * F.cross_entropy(row, torch.tensor(other))
            for row, (own, other, share) in zip(logits, SHARES, strict=True)
        ]
        torch.testing.assert_close(loss.total, torch.stack(terms).mean())

    def test_consistency_takes_them_for_the_clean_view_alone(self, views: Tensor):
        model = Recorder().eval()
        rows = rows_of(SHARES)
        loss = Consistency(weight=5.0)(model, views, rows)
        logits = model(views.flatten(0, 1)).reshape(3, 5, 4)
        expected = released(logits, rows, 5.0)  # torch's cross-entropy takes rows too
        torch.testing.assert_close(loss.total, expected)


class TestAdversarial:
    def test_the_loss_is_that_of_attacked_images_alone(self, views: Tensor):
        torch.manual_seed(0)
        model = build_model("small", num_classes=4).eval()
        attack = Attack(epsilon=0.05, num_steps=3)
        found = pgd(
            model, views[0], IDS, epsilon=0.05, num_steps=3, step_size=0.0125, start=views[1]
        )
        loss = Adversarial(attack=attack, label_smoothing=0.1)(model, views[:2], IDS)
        expected = F.cross_entropy(model(found), IDS, label_smoothing=0.1)
        torch.testing.assert_close(loss.total, expected)
        torch.testing.assert_close(loss.logits, model(found).detach())
        assert expected > F.cross_entropy(model(views[0]), IDS, label_smoothing=0.1)
        loss.total.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())

    def test_the_attack_takes_the_model_in_training_mode(self, views: Tensor):
        model = Recorder().train()
        Adversarial(attack=Attack(num_steps=4))(model, views[:2], IDS)
        assert len(model.inputs) == 5  # four steps and the loss
        assert model.norm.num_batches_tracked == 5
        assert model.training

    def test_targets_of_pairs(self, views: Tensor):
        model = Recorder().eval()
        rows = rows_of(SHARES)
        loss = Adversarial()(model, views[:2], rows)
        assert float(loss.total.detach()) > float(F.cross_entropy(model(views[0]), rows).detach())

    def test_wrong_number_of_views(self, views: Tensor):
        with pytest.raises(ValueError, match="takes 2 views, image and start, got 3"):
            Adversarial()(Recorder(), views, IDS)


class TestObjectives:
    def test_consistency_is_one_pass_over_all_views(self, views: Tensor):
        torch.manual_seed(0)
        model = Recorder()
        loss = Consistency(weight=7.0)(model, views, IDS)
        (images,) = model.inputs
        assert torch.equal(images, torch.cat([views[0], views[1], views[2]]))
        mean = views.mean(dim=(0, 1, 3, 4))  # batch statistics of all three views
        torch.testing.assert_close(model.norm.running_mean, mean)
        logits = model(images).reshape(3, 5, 4)
        torch.testing.assert_close(loss.total, jsd_loss(logits, IDS, 7.0))
        torch.testing.assert_close(loss.logits, logits[0])
        torch.testing.assert_close(
            loss.terms["cross_entropy"] + 7 * loss.terms["consistency"], loss.total
        )
        assert set(loss.terms) == {"cross_entropy", "consistency"}

    def test_only_the_total_carries_a_gradient(self, views: Tensor):
        for objective, given in ((Consistency(), views), (CrossEntropy(), views[:1])):
            loss = objective(Recorder(), given, IDS)
            assert loss.total.requires_grad
            assert not loss.logits.requires_grad
            assert not any(term.requires_grad for term in loss.terms.values())

    def test_cross_entropy_is_that_of_torch(self, views: Tensor):
        model = Recorder()
        loss = CrossEntropy(label_smoothing=0.2)(model, views[:1], IDS)
        expected = F.cross_entropy(model(views[0]), IDS, label_smoothing=0.2)
        torch.testing.assert_close(loss.total, expected)
        assert set(loss.terms) == {"cross_entropy"}

    def test_wrong_number_of_views(self, views: Tensor):
        with pytest.raises(ValueError, match="takes exactly 1 view, got 3"):
            CrossEntropy()(Recorder(), views, IDS)
        with pytest.raises(ValueError, match="at least 2 views, clean first, got 1"):
            Consistency()(Recorder(), views[:1], IDS)
        for objective in (CrossEntropy(), Consistency()):
            with pytest.raises(ValueError, match=r"got shape \(5, 3, 6, 7\)"):
                unchecked(type(objective).__call__)(objective, Recorder(), views[0], IDS)

    def test_wrong_labels(self, views: Tensor):
        with pytest.raises(ValueError, match=r"class ids must be 0..3 for 4 logits, got 9"):
            Consistency()(Recorder(), views, torch.tensor([0, 9, 1, 2, 3]))
        with pytest.raises(ValueError, match=r"class ids must be 0..3 for 4 logits, got 9"):
            CrossEntropy()(Recorder(), views[:1], torch.tensor([0, 9, 1, 2, 3]))

    def test_channels_last_reaches_the_model(self, views: Tensor):
        last = views.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        model = Recorder()
        Consistency()(model, last, IDS)
        assert model.inputs[0].is_contiguous(memory_format=torch.channels_last)
        assert model.inputs[0].data_ptr() == last.data_ptr()  # no copy

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_training_lowers_the_loss(self, views: Tensor, precision: str):
        torch.manual_seed(0)
        model = build_model("small", num_classes=4)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        totals = []
        for _ in range(12):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = Consistency()(model, views, IDS)
            assert loss.total.dtype == torch.float32
            optimiser.zero_grad()
            loss.total.backward()
            optimiser.step()
            totals.append(float(loss.total.detach()))
        assert totals[-1] < 0.5 * totals[0]


def test_masked_classes_give_the_released_loss_and_finite_gradients() -> None:
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    logits[:, :, 2] = -math.inf
    logits.requires_grad_()
    labels = torch.tensor([0, 1, 3, 4])
    loss = jsd_loss(logits, labels)
    torch.testing.assert_close(loss, released(logits.detach(), labels, 12.0))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, :, 2] == 0).all()
