"""Sharded pretraining on two gloo processes equals DistributedDataParallel, and resumes."""

import multiprocessing
import os
import re
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import make_world
from bam_mm.errors import InputError
from tests.distributed.test_loss_over_processes import free_port
from tests.end_to_end.test_exact_resume import CONFIG, differences, logged

EPOCHS, STEPS = 2, 3
SHARDED = {"runner_type": "FlexibleRunner", "strategy": dict(type="bam_mm.ShardedStrategy")}


def train_once(rank, port, work, data, options):
    from bam_mm.launch.config import load_config
    from bam_mm.launch.training import train

    log = os.open(f"{work}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    torch.set_num_threads(1)
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
    )  # fmt: skip
    options = {
        "data_root": str(data),
        "train_dataloader.batch_size": 8,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "max_epochs": EPOCHS,
        # States beside the parameters, random numbers, and networks that run outside of a training
        # step: BatchNorm, stochastic depth, recomputed blocks, boxes, kNN.
        "model.neck.norm": True,
        "model.backbone.drop_path_rate": 0.2,
        "model.activation_checkpointing": True,
        "default_hooks.boxes.start": 1,
        "default_hooks.logger.interval": 1,
        "custom_hooks.1.interval": 1,
        "custom_hooks.2.k": 5,
        # The first process has a batch more than the other one: 11 and 10 images.
        "test_cfg.bank.batch_size": 10,
        # Reads no number before the log, as in the configs for ImageNet.
        "default_hooks.runtime_info": dict(type="bam_mm.DeferredRuntimeInfoHook"),
        **options,
    }  # fmt: skip
    args = Namespace(
        config=str(CONFIG), work_dir=str(work), launcher="pytorch", resume="auto", amp=False,
        auto_scale_lr=False,
    )  # fmt: skip
    config = load_config(CONFIG, options)
    if "strategy" in options:
        config.custom_hooks.append(dict(type="bam_mm.ChannelsLastHook"))
    try:
        train(config, args)
    except InputError as error:
        print(f"error: {error}", flush=True)
        os._exit(1)
    os._exit(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that trains on two processes and returns their log."""
    data = tmp_path_factory.mktemp("world")
    make_world(data, scale=0.012)  # 48 training images: three steps an epoch
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmpretrain.models", "mmpretrain.datasets", "bam_mm.models"])

    def start(work, options, resume=None):
        work.mkdir(parents=True)
        if resume is not None:
            shutil.copy(resume / "epoch_1.pth", work)
        port = free_port()
        processes = [
            context.Process(
                target=train_once, args=(rank, port, str(work), data / "images", options)
            )
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(200)
        log = Path(f"{work}.log").read_text()
        assert [p.exitcode for p in processes] == [0, 0], log[-3000:]
        return log

    return start


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """Work folder of a run of the default runner."""
    work = tmp_path_factory.mktemp("whole") / "run"
    run(work, {})
    return work


@pytest.fixture(scope="module")
def sharded(run, tmp_path_factory):
    """Work folder of a sharded run."""
    work = tmp_path_factory.mktemp("sharded") / "run"
    log = run(work, SHARDED)
    # The class tokens and position embeddings are not divisible: the first process has them.
    [(mine, every)] = re.findall(r"process holds ([\d,]+) of ([\d,]+) parameters", log)
    mine, every = (int(number.replace(",", "")) for number in (mine, every))
    assert every / 2 <= mine < every * 0.51
    assert "bank 21, queries 18" in log and "sharded weights keep their memory format" in log
    return work


def finals(*works):
    found = [read_checkpoint(work / f"epoch_{EPOCHS}.pth") for work in works]
    for checkpoint in found:
        # mmengine's DDPStrategy saves the names of its wrapper.
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k.removeprefix("module."): v for k, v in state.items()}
    return found


def check_close(one, two, after=0):
    """Check that two runs log and save the same after a step, up to the rounding of float32."""
    logs, others = logged(one), logged(two)
    assert set(range(after + 1, EPOCHS * STEPS + 1)) <= set(others) <= set(logs)
    for step, entry in others.items():
        if step <= after:
            continue
        assert entry.keys() == logs[step].keys()
        for name, value in entry.items():
            assert value == pytest.approx(logs[step][name], rel=1e-6), (step, name)
    first, second = finals(one, two)
    assert first.keys() == second.keys()
    for name in first["state_dict"]:
        # Adam divides by the size of the gradient: rounding moves parameters that have almost none.
        torch.testing.assert_close(
            second["state_dict"][name], first["state_dict"][name], rtol=1e-5, atol=2e-5
        )
    assert differences(first["random_states"], second["random_states"]) == []
    assert differences(first["boxes"], second["boxes"]) == []
    assert first["optimizer"]["param_groups"] == second["optimizer"]["param_groups"]
    assert first["optimizer"]["state"].keys() == second["optimizer"]["state"].keys()


def test_sharded_training_equals_the_default(whole, sharded):
    assert {"loss", "grad_norm", "feature_std"} <= logged(sharded)[EPOCHS * STEPS].keys()
    assert "knn/teacher_top1" in logged(sharded)[EPOCHS * STEPS]
    check_close(whole, sharded)
    # The clipped norm is that of the whole gradient, and the teacher has moved.
    before, after = (read_checkpoint(sharded / f"epoch_{n}.pth")["state_dict"] for n in (1, 2))
    name = "backbone.layers.0.attn.qkv.weight"
    assert not torch.equal(before[f"teacher.{name}"], after[f"teacher.{name}"])
    assert not torch.equal(after[name], after[f"teacher.{name}"])


def test_sharded_training_resumes_exactly(run, sharded, tmp_path):
    log = run(tmp_path / "run", SHARDED, resume=sharded)
    assert "resumed epoch: 1" in log
    one, two = finals(sharded, tmp_path / "run")
    for part in ("state_dict", "optimizer", "param_schedulers", "random_states", "boxes"):
        assert differences(one[part], two[part], part) == []
    logs = {step: v for step, v in logged(sharded).items() if step > STEPS}
    resumed = {step: v for step, v in logged(tmp_path / "run").items() if step > STEPS}
    assert differences(logs, resumed) == [] and len(logs) == STEPS


@pytest.mark.parametrize("options", [{}, {"runner_type": "FlexibleRunner"}], ids=["", "flexible"])
def test_a_sharded_run_is_resumed_without_sharding(run, whole, sharded, tmp_path, options):
    run(tmp_path / "run", options, resume=sharded)
    check_close(whole, tmp_path / "run", after=STEPS)


def test_a_model_with_other_parameters_is_refused(tmp_path):
    from torch import nn

    from bam_mm.optim.sharding import shard

    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("backbone", "neck", "head")})
    model.backbone, model.neck = model["backbone"], model["neck"]
    with pytest.raises(InputError, match=r"ModuleDict has the parameter head\.weight outside"):
        shard(model)
