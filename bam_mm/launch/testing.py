"""Testing with a config and the arguments of the command line."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from bam_mm.checkpoint import load_weights, write_proof, write_whole
from bam_mm.data.checks.dense_labels import check_dense_data
from bam_mm.data.checks.recorded_classes import check_dense_classes
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.figures.tracking import TrackingHook
from bam_mm.hooks import CheckLabelsHook
from bam_mm.launch.batches import explicit_batches, fit_batches
from bam_mm.launch.data_folders import SCOPES
from bam_mm.launch.gpu_memory import PeakGPUMemory
from bam_mm.launch.model_cost import model_cost
from bam_mm.launch.preprocessing import preprocess_for_test
from bam_mm.launch.run_facts import loaders_of, write_facts
from bam_mm.launch.runner import build_runner, prepare, user_errors_unwrapped
from bam_mm.launch.tracking import track
from bam_mm.launch.work_folder import check_output, check_work_folder
from bam_mm.precision import precision_used
from bam_mm.protocols.unit_scores_hook import UnitScoresHook


def test(config: Config, args: Namespace) -> dict[str, float]:
    """Evaluate a checkpoint of the config's model.

    Args:
        config: Config returned by :func:`~bam_mm.launch.config.load_config`.
        args: Arguments of ``bam-mm test``.

    Returns:
        The metrics.

    Raises:
        InputError: If the config, the data or the checkpoint has an error that the user can fix.
    """
    if config.get("test_cfg") is None:
        raise InputError(
            f"{args.config} has no test_cfg, so it defines no evaluation: use a config of "
            "another folder, or add test_cfg, test_dataloader and test_evaluator"
        )
    if config.get("model") is None:
        raise InputError(f"{args.config} has no model: use a config of another folder, or add one")
    config = prepare(config, args)
    # The test's metrics belong to the training's curves, if it used the same work folder.
    vis = getattr(args, "vis", ())
    track(config, vis, resume=True, train=False)
    check_work_folder(config)
    if args.out:
        check_output(args.out, "--out")
    config.load_from, config.resume = None, False
    trust = getattr(args, "trust_checkpoint", False)
    options = getattr(args, "cfg_options", None) or ()
    kept = explicit_batches(config, options)
    preprocessing = preprocess_for_test(config, args.checkpoint, options=options, trust=trust)
    # Entries that only training needs may point to data that are missing here.
    for name in list(config.keys()):
        if name.startswith(("train_", "val_")) or name in ("optim_wrapper", "param_scheduler"):
            config[name] = None
    config.custom_hooks = []
    batches = fit_batches(config, kept=kept)
    if config.get("default_scope") not in SCOPES and config.test_cfg.get("type") is None:
        config.test_cfg.type = "bam_mm.ClassificationTestLoop"
    with PeakGPUMemory() as memory:
        runner = build_runner(config)
        preprocessing.log()
        for line in batches:
            print_log(line, logger="current")
        model: Any = unwrap_model(runner.model)
        meta: dict[str, Any] = {}
        if hasattr(model, "load_pretrained"):
            # The model loads a part of the checkpoint, and proves that this part is complete.
            report = model.load_pretrained(args.checkpoint, **({"trust": True} if trust else {}))
            if report is not None and is_main_process():
                used = preprocessing.used.facts()
                write_proof(runner.work_dir, replace(report, preprocessing=used))
        else:
            meta = load_weights(model, args.checkpoint, trust=trust)
        with user_errors_unwrapped(config):
            if config.get("default_scope") in SCOPES:
                check_dense_data(model, runner.test_loop.dataloader.dataset, "test")
                if not hasattr(model, "load_pretrained"):
                    check_dense_classes(meta, args.checkpoint, runner.test_loop.dataloader.dataset)
            else:
                runner.register_hook(CheckLabelsHook(meta, args.checkpoint))
            runner.register_hook(UnitScoresHook())
            if vis:
                runner.register_hook(TrackingHook(step=meta.get("iter", 0)))
            metrics = runner.test()
    if args.out and is_main_process():
        # mmseg returns NumPy scalars, and a confusion matrix is a tensor; JSON stores neither.
        plain = {k: getattr(value, "tolist", lambda v=value: v)() for k, value in metrics.items()}
        write_whole(
            Path(os.path.expanduser(args.out)), (json.dumps(plain, indent=2) + "\n").encode()
        )
    precision = precision_used(runner.test_loop, model)
    loaders = loaders_of(runner, "test")
    write_facts(
        runner.work_dir,
        "test",
        peak_gpu_mb=memory.mb(),
        precision=precision,
        preprocessing=preprocessing.used.facts(),
        loaders=loaders,
        cost=model_cost(runner.test_loop, model, loaders["test"]),
    )
    left_out = int(sum(v for k, v in metrics.items() if k.split("/")[-1] == "left_out"))
    if left_out:
        raise InputError(
            f"{left_out} item{'s' * (left_out > 1)} of the data set left out (named above with the "
            "remedy); the results are those of the other items"
        )
    return metrics
