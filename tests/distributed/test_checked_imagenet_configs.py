"""All hooks and loops of the ImageNet, COCO, ADE20K and DAVIS configs under checked collectives.

Two gloo processes accept CPU tensors everywhere, NCCL nowhere. The check therefore looks at where
the tensors of each collective come from.
"""

import importlib
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from mmengine.utils import is_method_overridden
from mmengine.visualization import Visualizer

from bam_mm.data.toy import make_world
from bam_mm.hooks import CheckLabelsHook
from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner
from tests.configs.running import feature_protocols, seg, vos
from tests.configs.running.cls import shrink
from tests.distributed.checked_collectives import CheckedCollectives
from tests.distributed.test_loss_over_processes import free_port

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ALL = [
    path
    for pattern in ("pretrain/*in1k*.py", "cls/*in1k*.py", "det/*.py", "seg/*.py", "vos/*.py")
    for path in sorted(CONFIGS.glob(pattern))
    if "toy" not in path.stem
]
TRAINED = (
    "pretrain/bam_resnet50_16xb256-amp-coslr-300e_in1k.py",
    "cls/resnet50_8xb128-linear-coslr-100e_in1k.py",
    "cls/vit-small-p16_8xb128-amp-coslr-150e_in1k.py",
    "cls/vit-small-p16_8xb128-linear-many-coslr-10e_in1k.py",
    "det/vit-small-p16_cascade-mask-rcnn_8xb2-amp-12e_coco.py",
    "seg/vit-small-p16_linear-head_8xb2-amp-160k_ade20k-512x512.py",
)
TESTED = (
    "cls/vit-small-p16_knn_in1k.py",
    "cls/vit-small-p16_cluster_in1k.py",
    "vos/vit-small-p16_label-propagation_davis2017.py",
    "seg/vit-small-p16_linear-head_8xb2-amp-160k_ade20k-512x512.py",
    "seg/vit-base-p16_dense-knn_ade20k.py",
    "cls/vit-small-p16_8xb128-amp-coslr-150e_in1k.py",
    "cls/vit-small-p16_8xb128-linear-many-coslr-10e_in1k.py",
)
NARROW = dict(stem_channels=8, base_channels=8)
LOOPS = dict(train="EpochBasedTrainLoop", val="ValLoop", test="TestLoop")
"""Type of a loop whose config does not name it."""


def named_in(paths):
    """Return the names of the hooks and loops of configs."""
    names = set()
    for config in map(load_config, paths):
        hooks = [*config.default_hooks.values(), *(config.get("custom_hooks") or [])]
        names |= {hook.type for hook in hooks if hook is not None}
        for part, default in LOOPS.items():
            loop = config.get(f"{part}_cfg")
            if loop is not None:
                names.add(loop.get("type", default))
    return {name.split(".")[-1] for name in names}


def small(path, world, work_dir):
    """Load a config that trains with narrow models and few images, and keep all of its hooks."""
    folder = path.parent.name
    running = importlib.import_module(f"tests.configs.running.{folder}")
    config = running.reduced(path, world, work_dir)
    config.launcher = "pytorch"
    config.train_dataloader.dataset.indices = 2 * config.train_dataloader.batch_size
    backbone = config.model.backbone
    if folder in ("pretrain", "cls") and backbone.type == "ResNet":
        backbone.update(NARROW)
        config.model[dict(pretrain="neck", cls="head")[folder]].in_channels = 256
    elif folder == "cls":
        shrink(config.model)
    if folder == "pretrain":
        [knn] = [hook for hook in config.custom_hooks if "KNN" in hook.type]
        knn.update(k=2, bank_fraction=0.5)
        config.test_cfg.bank.num_workers = 0
    toy = {
        "det": "vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy",
        "seg": "vit-toy-p8_upernet_1xb4-400i_toy",
    }
    held_out = config.test_cfg.get("val")  # Of the loop of many probes.
    for part in ("val", "test", "held out"):
        loader = held_out if part == "held out" else config.get(f"{part}_dataloader")
        if loader is None:
            continue
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        if folder in toy:
            small_loader = load_config(path.parent / f"{toy[folder]}.py")[f"{part}_dataloader"]
            loader.dataset = small_loader.dataset
            loader.dataset.data_root = config.train_dataloader.dataset.data_root
        loader.dataset.indices = 4
    if folder == "det":
        for part in ("val", "test"):
            config[f"{part}_evaluator"].ann_file = str(
                world / "coco/annotations/instances_val.json"
            )
    if folder == "seg":
        config.model.test_cfg = dict(mode="whole")
        config.train_cfg.val_interval = 1
        config.default_hooks.checkpoint.interval = 1
    if folder == "cls":
        config.train_cfg.val_interval = 1
    return config


def train(path, world, work_dir):
    build_runner(small(path, world, work_dir)).train()


def evaluate(path, world, work_dir):
    if path in map(CONFIGS.joinpath, TRAINED):
        runner = build_runner(small(path, world, work_dir))
        if path.parent.name == "cls":  # as bam-mm test does
            runner.register_hook(CheckLabelsHook({}, "trained.pth"))
        runner.test()
    else:
        run = {"cls": feature_protocols.run, "vos": vos.run, "seg": seg.run_dense_knn}
        run[path.parent.name](path, world, work_dir, launcher="pytorch")


class Ran:
    """Records the types of hooks that are called and of loops that end."""

    def __init__(self):
        self.names, call_hook = set(), Runner.call_hook

        def recording(runner, fn_name, **kwargs):
            call_hook(runner, fn_name, **kwargs)
            for hook in runner.hooks:
                # A hook method of this package's is in none of mmengine's.
                own = not hasattr(Hook, fn_name)
                if (
                    hasattr(hook, fn_name)
                    if own
                    else is_method_overridden(fn_name, Hook, type(hook))
                ):
                    self.names.add(type(hook).__name__)
            part = fn_name.removeprefix("after_")
            if part in LOOPS:
                self.names.add(type(getattr(runner, f"{part}_loop")).__name__)

        Runner.call_hook = recording


def work(rank, port, world, out):
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
    )  # fmt: skip
    os.chdir(out)  # mmengine collects results through a folder there.
    torch.set_num_threads(1)
    Config.pretty_text = ""  # mmengine formats each config four times for its log.
    dist.init_process_group("gloo", rank=rank, world_size=2)
    ran, calls = Ran(), {}
    for run, names in ((evaluate, TESTED), (train, TRAINED)):
        for name in names:
            # These outlive a run, and the next one would log to its folder.
            for kind in (MMLogger, MessageHub, Visualizer, *Visualizer.__subclasses__()):
                kind._instance_dict.clear()
            with CheckedCollectives() as check:
                run(CONFIGS / name, world, out / run.__name__ / Path(name).stem)
            calls[f"{run.__name__} {name}"] = check.calls
    torch.save(dict(ran=sorted(ran.names), calls=calls), f"{out}/{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.01)
    return out


def test_all_hooks_and_loops_of_the_configs(world, tmp_path):
    mp.start_processes(work, args=(free_port(), world, tmp_path), nprocs=2, start_method="fork")
    # It acts when the checkpoint of a test is loaded, and these runs load none.
    expected = named_in(ALL) - {"CheckPreprocessingHook"}
    assert len(ALL) >= 56 and {"OnlineKNNHook", "IterBasedTrainLoop"} < expected
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert sorted(expected - set(result["ran"])) == []
        callers = {name: {caller for caller, _ in calls} for name, calls in result["calls"].items()}
        assert all("torch" in callers[f"train {name}"] for name in TRAINED)
        assert "bam_mm" in callers[f"train {TRAINED[0]}"]
        assert all("mmengine" in callers[f"train {name}"] for name in TRAINED)
