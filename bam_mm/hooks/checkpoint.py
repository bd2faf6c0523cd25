"""Checkpoints that lose nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook

from bam_mm.checkpoint.writing import remove_partial_files, write_whole_files
from bam_mm.errors import InputError
from bam_mm.registry import HOOKS


class _RemoveLater:
    """A storage backend that only notes what is to be removed."""

    def __init__(self, backend) -> None:
        self.backend = backend
        self.noted: list[tuple[str, str]] = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.noted.append(("remove", path))

    def rmtree(self, path: str) -> None:
        self.noted.append(("rmtree", path))


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, but a checkpoint is written whole or not at all.

    A file gets its name when all of it is on the disk, and the oldest one (or the best so far) is
    removed when its successor has its name. mmengine removes first and then writes in place: with
    ``max_keep_ckpts=1`` a full disk or a kill at that moment loses both.
    """

    def before_train(self, runner) -> None:
        """Prepare, and clear away what a killed run left half written."""
        write_whole_files()
        super().before_train(runner)
        if is_main_process():
            for path in remove_partial_files(self.out_dir):
                runner.logger.warning(
                    f"removed {path}, left half written when an earlier run was stopped"
                )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Say what torch would not: why the optimizer of a resumed run does not fit."""
        if not runner._resume:
            return
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
                f"config's {now} of {others}: another optim_wrapper.paramwise_cfg, another model, "
                "or another version of bam-mm began this run; finish it with that one, or begin "
                "anew from its weights (load_from=PATH, without --resume)"
            )

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        with self._removing_last():
            try:
                super()._save_checkpoint_with_step(runner, step, meta)
            except OSError as error:
                # The checkpoint is there; what failed is mmengine's pointer to it, which --resume
                # does not need.
                raise InputError(
                    f"{runner.work_dir}/last_checkpoint is not written: {error.strerror}. Make "
                    "room, and go on with --resume"
                ) from error

    def _save_best_checkpoint(self, runner, metrics) -> None:
        with self._removing_last():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removing_last(self) -> Iterator[None]:
        if isinstance(self.file_backend, _RemoveLater):
            yield  # The outer call removes.
            return
        backend = self.file_backend
        self.file_backend = later = _RemoveLater(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        now = {self.last_ckpt, getattr(self, "best_ckpt_path", None)}
        now |= set(getattr(self, "best_ckpt_path_dict", {}).values())
        for act, path in later.noted:
            if path not in now:
                getattr(backend, act)(path)
