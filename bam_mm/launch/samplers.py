"""Options of a dataloader that belong to its sampler."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.logging import print_log

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")

OWNERS = {"drop_last": ("batch_sampler",), "shuffle": ("sampler", "batch_sampler")}
"""Parts of a loader that decide on an option instead of torch's ``DataLoader``, if there is one."""


def move_to_samplers(config: Config) -> None:
    """Move ``drop_last`` and ``shuffle`` of a loader to the sampler that it has, and log it.

    torch refuses them beside such a sampler: mmdet's configs have a batch sampler, and mmengine's
    loaders always have a sampler.

    Args:
        config: Config to change.
    """
    for name in LOADERS:
        loader = config.get(name)
        if not isinstance(loader, dict):
            continue
        for option, owners in OWNERS.items():
            owner = next((o for o in owners if isinstance(loader.get(o), Mapping)), None)
            if option not in loader or owner is None:
                continue
            loader[owner][option] = loader.pop(option)
            print_log(
                f"{name}.{option} is read as {name}.{owner}.{option}={loader[owner][option]}",
                logger="current",
            )
