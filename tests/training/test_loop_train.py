import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_runs import RICH, STEPS_PER_EPOCH, read_log, read_weights, toy_config, write_npz

from augmix import results
from augmix.errors import Interrupted, ResumeError, RunError
from augmix.files import hold_folder
from augmix.models import cifar
from augmix.models.weights import load_model
from augmix.progress import Event, Note, OnProgress, StepFinished, TrainingFinished
from augmix.training import checkpoint, pipeline
from augmix.training.config import OptimisationConfig
from augmix.training.run import train
from augmix.training.settings import update_config
from augmix.training.step import Learner


class Crash(Exception):
    """Stands for anything that ends the process."""


def at_step(step: int, act: Callable[[], None]) -> OnProgress:
    """A watcher that acts once after a step."""

    def watch(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == step:
            act()

    return watch


def crash() -> None:
    raise Crash


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run nobody disturbed."""
    return train(toy_config(tmp_path_factory.mktemp("whole") / "run"))


def test_the_run_folder_is_complete(whole: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    expected = "config.json lock log.jsonl model.json state.pt tensorboard weights.safetensors"
    assert names == set(expected.split())


def test_the_log_has_every_second_step_and_the_epochs_ends(whole: Path) -> None:
    log = read_log(whole)
    assert [line["step"] for line in log] == [2, 3, 4, 6, 8, 9]
    assert [line["epoch"] for line in log] == pytest.approx([2 / 3, 1, 4 / 3, 2, 8 / 3, 3])
    first = log[0]
    assert set(first["terms"]) == {"cross_entropy", "consistency"}
    terms = first["terms"]
    assert first["loss"] == pytest.approx(terms["cross_entropy"] + 12 * terms["consistency"])
    assert first["learning_rate"] == pytest.approx(0.1 * 0.9698, abs=1e-4)  # of step 1 of 9


@pytest.mark.parametrize(
    "step",  # checkpoints are written after steps 4, 8 and 9
    [1, 4, 5, 8, 9, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 3, 6, 7))],
)
def test_a_crash_after_any_step_changes_no_bit(whole: Path, tmp_path: Path, step: int) -> None:
    config = toy_config(tmp_path / "run")
    with pytest.raises(Crash):
        train(config, on_progress=at_step(step, crash))
    train(config)
    assert read_weights(config.run.out) == read_weights(whole)
    assert read_log(config.run.out) == read_log(whole)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        *((step, signal.SIGINT) for step in (1, 3, 5, 8)),
        (3, signal.SIGTERM),
        *(pytest.param(step, signal.SIGTERM, marks=pytest.mark.slow) for step in (1, 5, 8)),
    ],
)
def test_a_signal_leaves_a_checkpoint_of_the_step(
    whole: Path, tmp_path: Path, step: int, number: signal.Signals
) -> None:
    config = toy_config(tmp_path / "run")
    before = signal.getsignal(number)
    message = rf"stopped by {number.name} after step {step} of 9; .*again to continue the run in"
    with pytest.raises(Interrupted, match=message):
        train(config, on_progress=at_step(step, lambda: signal.raise_signal(number)))
    assert signal.getsignal(number) is before
    state = checkpoint.load_state(config.run.out)
    assert state is not None
    assert state.step == step
    train(config)
    assert read_weights(config.run.out) == read_weights(whole)
    assert read_log(config.run.out) == read_log(whole)


VICTIM = """
import json, os, random, signal, sys, time, warnings
from pathlib import Path
import numpy as np
import torch
sys.path.insert(0, sys.argv[2])
from toy_runs import toy_config
from augmix.progress import StepFinished
from augmix.training import checkpoint
from augmix.training.run import train
from augmix.models import cifar
from augmix.models.weights import load_model
warnings.simplefilter("ignore")  # fork beside threads
moments = random.Random()
waits = [4, 0, 5, 4, 6, 4]  # steps: more than between two checkpoints, or while a run starts
torch.set_num_threads(1)
config = toy_config(Path(sys.argv[1]), **json.loads(sys.argv[3]))
killed_at = []
while True:
    steps, told = os.pipe()
    child = os.fork()
    if not child:
        train(config, on_progress=lambda e: isinstance(e, StepFinished) and os.write(told, b"."))
        os._exit(0)
    os.close(told)
    if len(killed_at) < len(waits):
        for _ in range(waits[len(killed_at)]):
            os.read(steps, 1)
        time.sleep(moments.uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(steps)
    if os.WIFSIGNALED(status):
        state = checkpoint.load_state(config.run.out)
        killed_at.append(state.step if state else 0)
    elif os.WEXITSTATUS(status):
        sys.exit("the child failed")
    else:
        break
print(*killed_at)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("changes", [{"checkpoint_every": 3}, RICH], ids=["plain", "rich"])
def test_kill_9_at_random_moments_changes_no_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    changes = {**changes, "epochs": 32}  # more than the moments of a fast machine reach
    calm = train(toy_config(tmp_path / "calm", **changes))
    killed = tmp_path / "killed"
    place = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", VICTIM, str(killed), place, json.dumps(changes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    saved_at = [int(word) for word in done.stdout.split()]
    assert len(saved_at) == 6
    per_epoch = 2 if "val_fraction" in changes else STEPS_PER_EPOCH
    assert len({step // per_epoch for step in saved_at}) >= 4  # in as many epochs
    assert read_weights(killed) == read_weights(calm)
    assert read_log(killed) == read_log(calm)


def test_a_finished_run_says_so_and_does_nothing(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", epochs=1)
    train(config)
    before = {path.name: path.stat().st_mtime_ns for path in config.run.out.iterdir()}
    events: list[Event] = []
    train(config, on_progress=events.append)
    done = [event for event in events if not isinstance(event, Note)]
    assert done == [TrainingFinished(folder=config.run.out, num_steps=3, was_finished=True)]
    after = {path.name: path.stat().st_mtime_ns for path in config.run.out.iterdir()}
    assert {name for name in after if after[name] != before[name]} <= {"lock", "log.jsonl"}


@pytest.mark.parametrize("changes", [{}, {"model": "allconv-8", "ema_decay": 0.9, "epochs": 1}])
def test_a_run_killed_before_its_weights_were_written_writes_them(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = toy_config(tmp_path / "run", **changes)
    whole = read_weights(train(config))
    (config.run.out / "model.json").unlink()
    (config.run.out / "weights.safetensors").unlink()
    assert read_weights(train(config)) == whole


def test_threads_and_executor_change_no_bit(whole: Path, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", num_threads=3, executor="compiled")
    assert read_weights(train(config)) == read_weights(whole)


@pytest.mark.parametrize("method", ["standard", "augmix-no-jsd"])
def test_channels_last_and_bfloat16_train_and_resume(tmp_path: Path, method: str) -> None:
    changes = {"method": method, "precision": "bf16", "channels_last": True}
    calm = train(toy_config(tmp_path / "calm", **changes))
    config = toy_config(tmp_path / "run", **changes)
    with pytest.raises(Crash):
        train(config, on_progress=at_step(6, crash))
    train(config)
    assert read_weights(config.run.out) == read_weights(calm)


RICH = {"ema_decay": 0.9, "clip_norm": 0.5, "accumulate": 3, "deterministic": True}


def test_averages_parts_and_cut_gradients_resume_to_the_same_bits(
    whole: Path, tmp_path: Path
) -> None:
    calm = train(toy_config(tmp_path / "calm", **RICH))
    config = toy_config(tmp_path / "run", **RICH)
    for step in (2, 6):
        with pytest.raises(Crash):
            train(config, on_progress=at_step(step, crash))
    train(config)
    assert read_weights(config.run.out) == read_weights(calm)
    assert read_weights(calm) != read_weights(whole)
    assert not torch.are_deterministic_algorithms_enabled()
    model = load_model(calm)
    assert all(torch.isfinite(values).all() for values in model.state_dict().values())


def test_half_precision_is_refused_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision 'fp16' is for GPUs; .*take 'bf16'"):
        train(toy_config(tmp_path / "run", precision="fp16"))


def test_two_torch_threads_resume_to_the_same_bits(tmp_path: Path) -> None:
    calm = train(toy_config(tmp_path / "calm", torch_threads=2))
    config = toy_config(tmp_path / "run", torch_threads=2)
    with pytest.raises(Crash):
        train(config, on_progress=at_step(5, crash))
    train(config)
    assert read_weights(config.run.out) == read_weights(calm)


def test_another_seed_gives_another_model(whole: Path, tmp_path: Path) -> None:
    assert read_weights(train(toy_config(tmp_path / "run", seed=1))) != read_weights(whole)


def test_the_callers_random_state_and_threads_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    train(toy_config(tmp_path / "run", epochs=1, torch_threads=2))
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.2}, "learning_rate = 0.1, this one has 0.2"),
        ({"method": "standard"}, "method = 'augmix', this one has 'standard'"),
        ({"model": "wrn-10-1"}, "model = 'small', this one has 'wrn-10-1'"),
        ({"epochs": 4}, "epochs = 3, this one has 4"),
        ({"dropout": 0.1}, "dropout = 0.3, this one has 0.1"),
        ({"torch_threads": 7}, r"torch_threads = \d+, this one has 7"),
    ],
)
def test_another_configuration_is_refused(
    whole: Path, changes: dict[str, Any], message: str
) -> None:
    before = read_weights(whole)
    with pytest.raises(ResumeError, match=message):
        train(toy_config(whole, **changes))
    assert read_weights(whole) == before


def test_other_data_is_refused(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", epochs=1)
    train(config)
    write_npz(Path(config.data.path), seed=1)
    with pytest.raises(ResumeError, match="source_fingerprint = '"):
        train(config)


def test_another_network_behind_the_same_name_and_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path / "run", epochs=1)
    train(config)
    stages = cifar._SMALL_STAGES
    moved = ((stages[0][0], 3 - stages[0][1]), *stages[1:])  # the first stride, 1 or 2, swapped
    monkeypatch.setattr(cifar, "_SMALL_STAGES", moved)
    with pytest.raises(ResumeError, match="network = '"):
        train(config)


def test_another_torch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config(tmp_path / "run", epochs=1)
    train(config)
    provenance = results.provenance()
    provenance["versions"]["torch"] = "9.9"
    monkeypatch.setattr(results, "provenance", lambda: provenance)
    with pytest.raises(ResumeError, match=r"torch version = '.*', this one has '9\.9'"):
        train(config)


def test_moved_data_and_other_free_settings_are_accepted(whole: Path, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run")
    with pytest.raises(Crash):
        train(config, on_progress=at_step(5, crash))
    moved = Path(config.data.path).rename(tmp_path / "moved.npz")
    train(toy_config(config.run.out, data=str(moved), num_threads=2, checkpoint_every=1))
    assert read_weights(config.run.out) == read_weights(whole)


def test_a_loss_that_is_not_finite_names_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path / "run")
    monkeypatch.setattr(
        OptimisationConfig, "rate", lambda self, step, *_: 0.1 if step < 6 else 1e30
    )
    with pytest.raises(RunError, match=r"no longer finite at step 8 \(loss .*last checkpoint"):
        train(config)
    state = checkpoint.load_state(config.run.out)
    assert state is not None
    assert state.step == 4
    assert all(bool(torch.isfinite(v).all()) for v in state.model.values() if v.is_floating_point())


def test_lost_weights_are_never_checkpointed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path / "run")
    update, calls = Learner.update, []

    def poison(learner: Learner, rate: float) -> None:
        update(learner, rate)
        calls.append(rate)
        if len(calls) == 4:  # the gradient of a finite loss need not be finite
            next(learner.model.parameters()).data[0] = torch.inf

    monkeypatch.setattr(Learner, "update", poison)
    with pytest.raises(RunError, match="no longer finite after step 4; the last checkpoint"):
        train(config)
    state = checkpoint.load_state(config.run.out)
    assert state is not None
    assert state.step == 0


def test_a_full_disk_stops_with_the_older_checkpoint(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path / "run")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        fill = at_step(5, lambda: patch.setattr(os, "fsync", full))
        with pytest.raises(RunError, match=r"cannot write .*log\.jsonl: No space left on device"):
            train(config, on_progress=fill)
    train(config)
    assert read_weights(config.run.out) == read_weights(whole)
    assert read_log(config.run.out) == read_log(whole)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", epochs=1)
    with (
        hold_folder(config.run.out),
        pytest.raises(RunError, match=f"in use by process {os.getpid()}"),
    ):
        train(config)


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    events: list[Event] = []
    (tmp_path / "data").mkdir()
    config = toy_config(tmp_path / "data" / "run")
    config = update_config(config, out=tmp_path / "file" / "run")
    with pytest.raises(RunError, match="cannot write into the run folder"):
        train(config, on_progress=events.append)
    assert all(isinstance(event, Note) for event in events)


def test_foreign_files_are_not_overwritten(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", epochs=1)
    config.run.out.mkdir()
    (config.run.out / "config.json").write_text('{"schema": 1, "model": "theirs"}')
    with pytest.raises(ResumeError, match=r"holds config\.json but no state\.pt"):
        train(config)
    assert "theirs" in (config.run.out / "config.json").read_text()


def test_a_run_killed_before_its_first_checkpoint_starts_again(whole: Path, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run")
    config.run.out.mkdir()
    (config.run.out / "config.json").write_bytes((whole / "config.json").read_bytes())
    assert read_weights(train(config)) == read_weights(whole)


def test_an_error_while_views_are_made_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RunError("image 3 of toy.npz is broken")

    monkeypatch.setattr(pipeline, "render", fail)
    with pytest.raises(RunError, match="image 3"):
        train(toy_config(tmp_path / "run"))
