"""TensorBoard and Weights & Biases as backends of mmengine's visualizer, and what they are told."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.visualization import LocalVisBackend
from mmengine.visualization import TensorboardVisBackend as MMEngineTensorboardVisBackend
from mmengine.visualization import WandbVisBackend as MMEngineWandbVisBackend
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.registry import HOOKS, VISBACKENDS

RUN_ID = "wandb_run.txt"
"""File in a work folder with the id of its run at Weights & Biases."""

STEP = "step"
"""Name of the horizontal axis at Weights & Biases: the number of iterations."""

ROOT = "work_dirs"
"""Folder below which a work folder's path is the name of its run at Weights & Biases."""


@VISBACKENDS.register_module()
class TensorboardVisBackend(MMEngineTensorboardVisBackend):
    """mmengine's ``TensorboardVisBackend``, but a resumed run continues its curves.

    mmengine starts a new folder, and so a second curve in another colour. This backend writes into
    the folder of the run that is resumed, and lets TensorBoard drop the points after the iteration
    that the run continues from (``purge_step``).

    Args:
        save_dir: Folder of this start's log, ``<work folder>/<time>/vis_data``.
        resume: Whether to write into the newest such folder with events, if the work folder has
            one.
    """

    def __init__(self, save_dir: str, resume: bool = False) -> None:
        super().__init__(save_dir)
        self.resume = resume
        self.iterations: int | None = None
        self._config: Config | None = None

    def begin(self, iterations: int) -> None:
        """Note the number of iterations before this start; call it before any value is added."""
        self.iterations = iterations

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Keep the config until the first value is added: until then, the step is not known."""
        self._config = config

    def _init_env(self) -> None:
        # torch needs tensorboard for this import, so it is not at the top.
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(self._save_dir)
        if self.resume:
            written = folder.parents[1].glob("*/vis_data/events.out.tfevents.*")
            folder = max((file.parent for file in written), default=folder)
        folder.mkdir(parents=True, exist_ok=True)
        # The first step of this start: what is known from there on was lost with the last one.
        first = self.iterations + 1 if self.resume and self.iterations else None
        self._tensorboard = SummaryWriter(str(folder), purge_step=first)
        if self._config is not None:
            self._tensorboard.add_text("config", f"```\n{self._config.pretty_text}\n```")

    def add_scalars(
        self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Record several numbers of one step."""
        super().add_scalars(_by_stage(scalar_dict), step, file_path, **kwargs)


@VISBACKENDS.register_module()
class WandbVisBackend(MMEngineWandbVisBackend):
    """mmengine's ``WandbVisBackend``, with iterations as the axis, and one run for a work folder.

    mmengine ignores the step, so that the horizontal axis counts calls. Here, every value has its
    step, and all curves are drawn over it. The id of the run is kept in the work folder
    (``wandb_run.txt``), so that a resumed run, or the test after the training, continues it. The
    run is named after the work folder, unless ``init_kwargs`` or ``WANDB_NAME`` name it. No code is
    uploaded.

    Args:
        save_dir: Folder of this start's log, ``<work folder>/<time>/vis_data``.
        resume: Whether to continue the run whose id the work folder holds.
        init_kwargs: Arguments of ``wandb.init``, such as ``project``, ``entity`` and ``tags``.
        **kwargs: Further arguments of mmengine's backend.
    """

    def __init__(
        self,
        save_dir: str,
        resume: bool = False,
        init_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(save_dir, init_kwargs=dict(init_kwargs or {}), **kwargs)
        self.resume = resume

    def _init_env(self) -> None:
        work = Path(self._save_dir).parents[1]
        work.mkdir(parents=True, exist_ok=True)
        given = self._init_kwargs
        given.setdefault("resume", "allow")
        if "name" not in given and not os.environ.get("WANDB_NAME"):
            given["name"] = _name_of(work)
        if "id" not in given and not os.environ.get("WANDB_RUN_ID"):
            given["id"] = self._run_id(work / RUN_ID)
        try:
            super()._init_env()
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "wandb":
                raise
            raise InputError(
                f"Weights & Biases does not start ({error}): log in with `wandb login`, or set "
                "WANDB_MODE=offline and upload the run later with `wandb sync`"
            ) from error
        self._wandb.define_metric(STEP)
        self._wandb.define_metric("*", step_metric=STEP)

    def _run_id(self, file: Path) -> str:
        if self.resume and file.is_file() and (known := file.read_text().strip()):
            return known
        new = secrets.token_hex(6)
        file.write_text(f"{new}\n")
        return new

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Start the run and record the config. A resumed run may have other values."""
        self.experiment.config.update(config.to_dict(), allow_val_change=True)

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Record an image (H, W, 3) uint8, RGB."""
        run = self.experiment
        run.log({name: run.Image(image), STEP: step}, commit=self._commit)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number."""
        self.add_scalars({name: value}, step)

    def add_scalars(
        self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Record several numbers of one step."""
        self.experiment.log({**_by_stage(scalar_dict), STEP: step}, commit=self._commit)

    def close(self) -> None:
        """End the run."""
        if hasattr(self, "_wandb"):
            self._wandb.finish()


@HOOKS.register_module()
class TrackingHook(Hook):
    """Tell the backends of the visualizer what mmengine does not tell them.

    These are the iteration that a run continues from, and the metrics of a test, which mmengine
    only logs and writes to a file. They get the names ``test/...``.

    Args:
        step: Number of iterations of the checkpoint that is tested.
    """

    # First of all: other hooks log before the first iteration, too.
    priority = "VERY_HIGH"

    def __init__(self, step: int = 0) -> None:
        self.step = step

    def before_train(self, runner: Any) -> None:
        """Tell the backends the number of iterations before this start."""
        for backend in runner.visualizer._vis_backends.values():
            if hasattr(backend, "begin"):
                backend.begin(runner.iter)

    def after_test_epoch(self, runner: Any, metrics: dict[str, Any] | None = None) -> None:
        """Send the metrics of a test that are numbers."""
        numbers = {
            f"test/{name}": float(value)
            for name, value in (metrics or {}).items()
            if isinstance(value, (int, float)) or _size(value) == 1
        }
        if numbers and is_main_process():
            runner.visualizer.add_scalars(numbers, step=self.step)


def trackers(runner: Any) -> list[Any]:
    """Return the backends of the visualizer besides mmengine's local one, which writes files."""
    visualizer = getattr(runner, "visualizer", None)
    backends = getattr(visualizer, "_vis_backends", {}).values()
    return [backend for backend in backends if not isinstance(backend, LocalVisBackend)]


def step_of(runner: Any) -> int:
    """Return the number of iterations that the weights of a runner were trained for, if known."""
    tested = [hook.step for hook in runner.hooks if isinstance(hook, TrackingHook)]
    return runner.iter or next(iter(tested), 0)


def _size(value: Any) -> int | None:
    """Return the number of elements of an array, a scalar of NumPy or a tensor."""
    return value.numel() if isinstance(value, Tensor) else getattr(value, "size", None)


def _by_stage(scalars: dict) -> dict:
    """Rename what has the same name in a training and in its validation: the times of a step."""
    if MessageHub.get_current_instance().get_info("loop_stage") != "val":
        return scalars
    shared = ("time", "data_time")
    return {f"val/{name}" if name in shared else name: v for name, v in scalars.items()}


def _name_of(work: Path) -> str:
    parts = work.absolute().parts
    below = parts[len(parts) - parts[::-1].index(ROOT) :] if ROOT in parts else parts[-1:]
    return "/".join(below) or work.name
