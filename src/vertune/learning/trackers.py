"""Sends training curves, such as the loss, to the experiment trackers in the config; independent of the training loop.

The trackers, such as TensorBoard, are called through Accelerate.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vertune.core.artifact import Progress
from vertune.core.config import Config, dump
from vertune.core.errors import MissingExtra

_CURVES = ("loss", "rate", "examples_per_second", "metric")


@contextmanager
def tracking(config: Config, folder: Path, home: Path, progress: Progress) -> Iterator[Progress]:
    """Yield a progress callback that calls `progress` and also sends training curves to the configured trackers.

    Without trackers, `progress` itself is yielded. TensorBoard and Weights & Biases write into `folder`, which is for
    this training run. MLflow writes into a database in `home`, which all training runs share, so that they can be
    compared. Raises MissingExtra for a tracker that is not installed, because Accelerate would silently skip it.
    """
    names = config.training.trackers
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingExtra(f"The tracker '{name}'", name, name)
    if not names:
        yield progress
        return
    from accelerate import Accelerator

    tracker = Accelerator(log_with=list(names), project_dir=str(folder))
    if "mlflow" in names and "MLFLOW_TRACKING_URI" not in os.environ:
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    offline = {"wandb": {"mode": "offline", "dir": str(folder)}}
    tracker.init_trackers(config.name, config=_flat(dump(config)), init_kwargs=offline)

    def both(kind: str, **fields: Any) -> None:
        progress(kind, **fields)
        curves = {key: fields[key] for key in _CURVES if isinstance(fields.get(key), int | float)}
        if "step" in fields and curves:
            tracker.log(curves, step=int(fields["step"]))

    try:
        yield both
    finally:
        tracker.end_training()


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten the nested options of a config to one level, with keys such as `optimiser.rate`, for the trackers.

    Values that trackers can't store are converted to text.
    """
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[prefix + key] = item if isinstance(item, int | float | str | bool) else str(item)
    return flat
