"""The demo: train Standard and AugMix on digits, measure both, and write the report."""

from pathlib import Path

from augmix import files, run_folder
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.models import run_measurement
from augmix.paper.config import DemoConfig
from augmix.progress import OnProgress, PhaseStarted, ignore
from augmix.report import summarise, write_report
from augmix.training.config import TrainConfig
from augmix.training.run import train
from augmix.training.settings import build_config

SUMMARY_FILE = "summary.json"
_SUMMARY = ("clean_error", "corruption_error", "rms_calibration_error")


def demo(config: DemoConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Train Standard and AugMix on the embedded digits, measure both, write the report.

    Digits are measured at the ``imagenet`` severities, since those of ``cifar`` hardly raise their
    error. Started again, the demo continues from where it was stopped.

    Returns:
        The report, one HTML page.
    """
    emit = on_progress or ignore
    runs, summary, seconds = [], {}, 0.0
    for method in ("standard", "augmix"):
        run = config.out / method
        emit(PhaseStarted(title=f"{method}: training"))
        train(demo_run(config, method), on_progress=on_progress)
        emit(PhaseStarted(title=f"{method}: measuring"))
        how = EvaluateConfig(preset="imagenet", max_images=config.max_images, device="cpu")
        measurement = Measurement(models=(str(run),), how=how)
        measured = run_measurement(measurement, on_progress=on_progress)
        log = run_folder.load_steps(run)
        seconds += log[-1].get("seconds", 0.0) if log else 0.0  # over all restarts
        seconds += sum(cell.seconds for cell in measured.cells)
        numbers = summarise(measured)
        summary[method] = {name: numbers[name] for name in _SUMMARY}
        runs.append(run)
    emit(PhaseStarted(title="report"))
    files.write_json(config.out / SUMMARY_FILE, {"seconds": seconds, **summary})
    return write_report(runs, config.out / run_folder.REPORT_FILE)


def demo_run(config: DemoConfig, method: str) -> TrainConfig:
    """Configure one training run of the demo."""
    return build_config(
        method=method,
        model="small",
        data="digits",
        out=config.out / method,
        epochs=config.epochs,
        batch_size=100,
        learning_rate=0.1,
        schedule="one-cycle",
        seed=config.seed,
        max_train_images=config.max_train_images,
        crop_padding=2,  # half a pixel of the original 8x8
        channels_last=True,  # a quarter faster on a CPU too
        device="cpu",
    )
