"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmpretrain.models import BaseSelfSupervisor

from bam_mm.checkpoint.earlier_runs import earlier_files, set_aside
from bam_mm.checkpoint.writing import remove_partial_files, write_whole_files
from bam_mm.data.checks.recorded_classes import check_resumed_classes
from bam_mm.data.class_names import FOLDERS, classes_of, folders_of
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError, listing
from bam_mm.hooks.resumed_run import FACTS, check_resumed, facts_of
from bam_mm.registry import HOOKS


class _RemoveLater:
    """Storage backend that records what to remove instead of removing it."""

    def __init__(self, backend) -> None:
        self.backend = backend
        self.recorded: list[tuple[str, str]] = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.recorded.append(("remove", path))

    def rmtree(self, path: str) -> None:
        self.recorded.append(("rmtree", path))


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, but a checkpoint is written whole or not at all.

    A file gets its name only after all of it is on disk, and the oldest checkpoint (or the previous
    best one) is removed only after that. mmengine removes first and writes in place afterwards:
    with ``max_keep_ckpts=1``, a full disk or a kill at that moment loses both.

    Nor do two runs share a folder: before the first checkpoint of a new run is written, those of an
    earlier run move to a folder ``earlier-N``, so that ``--resume`` cannot go on with the wrong
    run. A run is resumed only with the settings, the model and the data of its checkpoint.

    Args:
        *args: Arguments of mmengine's ``CheckpointHook``.
        allow_changes: Whether a run may be resumed with other settings than those of the
            checkpoint; they are then logged.
        **kwargs: Arguments of mmengine's ``CheckpointHook``.
    """

    file_backend: Any  # mmengine's hook creates it in before_train.

    def __init__(self, *args: Any, allow_changes: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.allow_changes = allow_changes
        self.facts: dict[str, Any] | None = None
        self.resumed: tuple[int, int] | None = None
        self.apart = False

    def before_train(self, runner) -> None:
        """Set up mmengine's hook, and remove files that a killed run left half written."""
        write_whole_files()
        super().before_train(runner)
        self.resumed = _resumed_here(runner, self.out_dir)
        self.apart = not isinstance(self.file_backend, LocalBackend)
        if not self.apart:
            _refuse_to_move_inputs(runner.cfg.to_dict(), self._earlier(runner))
        if is_main_process():
            for path in remove_partial_files(self.out_dir):
                runner.logger.warning(
                    f"removed {path}, left half written when an earlier run was stopped"
                )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check that a resumed run has the model, optimizer, data and settings of the checkpoint.

        Raises:
            InputError: If it has not.
        """
        if runner._resume:
            if not isinstance(unwrap_model(runner.model), BaseSelfSupervisor):
                check_resumed_classes(checkpoint.get("meta"), runner.train_dataloader.dataset)
            check_resumed(
                runner,
                checkpoint,
                allow_changes=self.allow_changes,
                without_optimizer=not self.save_optimizer,
            )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save what the settings do not state about the run: its data and its batch size.

        Class folders are saved if the classes have other names (mmpretrain's ImageNet).
        """
        if self.facts is None:
            self.facts = facts_of(runner)
        checkpoint["meta"][FACTS] = self.facts
        dataset = runner.train_dataloader.dataset
        folders = folders_of(dataset)
        if folders is not None and folders != classes_of(dataset):
            checkpoint["meta"][FOLDERS] = list(folders)

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        # A hook method of this package's, called on every process.
        runner.call_hook("before_checkpoint")
        self._set_earlier_run_aside(runner)
        with self._removing_last():
            try:
                super()._save_checkpoint_with_step(runner, step, meta)
            except UnicodeEncodeError:
                # The checkpoint itself was written. The pointer to it holds the name's bytes.
                pointer = Path(runner.work_dir) / "last_checkpoint"
                pointer.write_bytes(os.fsencode(self.last_ckpt))
            except OSError as error:
                # The checkpoint itself was written. Only mmengine's pointer to it failed, which
                # --resume does not need.
                raise InputError(
                    f"{runner.work_dir}/last_checkpoint is not written: {error.strerror}. Free "
                    "disk space and continue with --resume"
                ) from error

    def _save_best_checkpoint(self, runner, metrics) -> None:
        if self.save_best:
            # It may be the first checkpoint of this run.
            self._set_earlier_run_aside(runner)
        with self._removing_last():
            super()._save_best_checkpoint(runner, metrics)

    def _earlier(self, runner) -> list[Path]:
        return earlier_files(self.out_dir, log_dir=runner.log_dir, resumed=self.resumed)

    def _set_earlier_run_aside(self, runner) -> None:
        if self.apart or not is_main_process():
            return
        self.apart = True
        if paths := self._earlier(runner):
            target = set_aside(paths)
            runner.logger.warning(
                f"moved {listing((path.name for path in paths), 4)} of an earlier run to {target}"
            )

    @contextmanager
    def _removing_last(self) -> Iterator[None]:
        if isinstance(self.file_backend, _RemoveLater):
            yield  # The outer call removes the files.
            return
        backend = self.file_backend
        self.file_backend = later = _RemoveLater(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        now = {self.last_ckpt, getattr(self, "best_ckpt_path", None)}
        now |= set(getattr(self, "best_ckpt_path_dict", {}).values())
        for method, path in later.recorded:
            if path not in now:
                getattr(backend, method)(path)


def _resumed_here(runner, folder: str) -> tuple[int, int] | None:
    """Return the epochs and iterations of a run resumed from this folder, None for other runs."""
    if not (runner._resume and runner._has_loaded):
        return None
    source = runner._resume if isinstance(runner._resume, str) else runner._load_from
    # Without a path, mmengine resumes from the work folder.
    here = source is None or Path(source).resolve().parent == Path(folder).resolve()
    return (runner.epoch, runner.iter) if here else None


def _refuse_to_move_inputs(config: Mapping[str, Any], paths: list[Path]) -> None:
    """Check that the config names none of the files that are going to move."""
    moving = {path.resolve() for path in paths}
    for name, value in _texts(config):
        if moving and value.endswith(".pth") and Path(value).expanduser().resolve() in moving:
            raise InputError(
                f"{name}={value} lies in the work folder, where this run would save its own "
                "checkpoints: choose another --work-dir"
            )


def _texts(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield name, node
    entries: Any = node.items() if isinstance(node, Mapping) else ()
    if isinstance(node, (list, tuple)):
        entries = enumerate(node)
    for key, value in entries:
        yield from _texts(value, f"{name}.{key}" if name else str(key))
