"""Testing from a config and the command line's arguments."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from bam_mm.errors import InputError
from bam_mm.launch.runner import build_runner, input_error_in, load_weights, prepare


def test(config: Config, args: Namespace) -> dict[str, float]:
    """Evaluate a checkpoint of the config's model.

    Args:
        config: As :func:`~bam_mm.launch.config.load_config` gives it.
        args: Of ``tools/test.py``.

    Returns:
        The metrics.

    Raises:
        InputError: For whatever the user can mend.
    """
    if config.get("test_cfg") is None:
        raise InputError(
            f"{args.config} has no test_cfg: it says nothing of an evaluation; use a config of "
            "another room, or add test_cfg, test_dataloader and test_evaluator"
        )
    config = prepare(config, args)
    config.load_from, config.resume = None, False
    # What only training needs may point to data that is not here.
    for name in list(config.keys()):
        if name.startswith(("train_", "val_")) or name in ("optim_wrapper", "param_scheduler"):
            config[name] = None
    config.custom_hooks = []
    runner = build_runner(config)
    model = getattr(runner.model, "module", runner.model)
    if hasattr(model, "load_pretrained"):
        # The model takes a part of the checkpoint, and proves itself that it got all of that.
        model.load_pretrained(args.checkpoint)
    else:
        load_weights(model, args.checkpoint)
    try:
        metrics = runner.test()
    except Exception as error:
        raise input_error_in(error) or error from error
    if args.out and is_main_process():
        Path(args.out).write_text(json.dumps(metrics, indent=2) + "\n")
    left_out = int(sum(v for k, v in metrics.items() if k.split("/")[-1] == "left_out"))
    if left_out:
        raise InputError(
            f"{left_out} item{'s' * (left_out > 1)} of the data set left out (named above with the "
            "remedy); the results are those of the others"
        )
    return metrics
