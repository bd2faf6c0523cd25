"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmpretrain.models import BaseSelfSupervisor

from bam_mm.checkpoint.writing import remove_partial_files, write_whole_files
from bam_mm.data.checks.recorded_classes import check_resumed_classes
from bam_mm.data.class_names import FOLDERS, classes_of, folders_of
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
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
    """

    file_backend: Any  # mmengine's hook creates it in before_train.

    def before_train(self, runner) -> None:
        """Set up mmengine's hook, and remove files that a killed run left half written."""
        write_whole_files()
        super().before_train(runner)
        if is_main_process():
            for path in remove_partial_files(self.out_dir):
                runner.logger.warning(
                    f"removed {path}, left half written when an earlier run was stopped"
                )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Store the class folders if the classes have other names (mmpretrain's ImageNet)."""
        dataset = runner.train_dataloader.dataset
        folders = folders_of(dataset)
        if folders is not None and folders != classes_of(dataset):
            checkpoint["meta"][FOLDERS] = list(folders)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check that the optimizer of a resumed run fits, with a clearer message than torch's.

        Raises:
            InputError: If the checkpoint has other parameter groups than the optimizer, or other
                classes than the training data.
        """
        if not runner._resume:
            return
        if not isinstance(unwrap_model(runner.model), BaseSelfSupervisor):
            check_resumed_classes(checkpoint.get("meta"), runner.train_dataloader.dataset)
        saved = checkpoint.get("optimizer", {}).get("param_groups")
        optimizer = getattr(runner.optim_wrapper, "optimizer", None)
        if saved is None or optimizer is None:
            return
        sizes = [
            [len(group["params"]) for group in groups] for groups in (saved, optimizer.param_groups)
        ]
        if sizes[0] != sizes[1]:
            (before, tensors), (now, others) = ((len(s), sum(s)) for s in sizes)
            raise InputError(
                f"resume: the checkpoint's optimizer has {before} groups of {tensors} tensors, the "
                f"config's {now} of {others}: the run was started with another "
                "optim_wrapper.paramwise_cfg, model or version of bam-mm; resume with the same, or "
                "start a new run from its weights (load_from=PATH, without --resume)"
            )

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        with self._removing_last():
            try:
                super()._save_checkpoint_with_step(runner, step, meta)
            except OSError as error:
                # The checkpoint itself was written. Only mmengine's pointer to it failed, which
                # --resume does not need.
                raise InputError(
                    f"{runner.work_dir}/last_checkpoint is not written: {error.strerror}. Free "
                    "disk space and continue with --resume"
                ) from error

    def _save_best_checkpoint(self, runner, metrics) -> None:
        with self._removing_last():
            super()._save_best_checkpoint(runner, metrics)

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
