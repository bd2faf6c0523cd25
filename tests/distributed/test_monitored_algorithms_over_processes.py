"""The collapse monitor sees the neck of mmpretrain's BYOL inside MMDistributedDataParallel."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from bam_mm.hooks import CollapseMonitorHook
from tests.distributed.processes import run_processes
from tests.hooks.test_monitored_algorithms import ALGORITHMS, build, spread_of, views


def work(rank, world, out):
    model = build(dict(type="BYOL", **ALGORITHMS["BYOL"]))
    found, rows = {}, []
    model.neck.register_forward_hook(lambda module, inputs, output: rows.append(output[0].detach()))
    wrapped = MMDistributedDataParallel(model)
    hub = SimpleNamespace(update_scalar=found.__setitem__)
    runner = SimpleNamespace(model=wrapped, message_hub=hub, iter=0)
    hook = CollapseMonitorHook(interval=1)
    hook.before_train_iter(runner, 0)
    # Each process has other images.
    wrapped([view + rank for view in views("BYOL")], None, mode="loss")
    hook.after_train_iter(runner, 0)
    torch.save({"rows": torch.cat(rows), "found": found}, f"{out}/{rank}.pth")


def test_the_spread_is_that_of_the_rows_of_all_processes(tmp_path):
    run_processes(work, 2, tmp_path)
    saved = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    assert not torch.equal(saved[0]["rows"], saved[1]["rows"])
    expected = spread_of(torch.cat([each["rows"] for each in saved]))
    for each in saved:
        assert each["found"] == {"train/feature_std": pytest.approx(expected, rel=1e-5)}
