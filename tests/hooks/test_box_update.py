"""The hook in real runs: boxes are computed on time, correct, saved and restored."""

import shutil
from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace

import mmcv
import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm import InputError
from bam_mm.checkpoint import read_checkpoint
from bam_mm.data import BoxStore, ImageFolder
from bam_mm.data.toy import make_world
from bam_mm.hooks import BoxUpdateHook
from bam_mm.hooks.box_update import dataset_with_pipeline, store_of
from bam_mm.launch.arguments import add_common_arguments
from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner
from tests.reference.slow_saliency import slow_box, slow_class_attention, tokens_of_mmpretrain

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy-contrastive-crop.py"
PIPELINE = [dict(type="bam_mm.LoadImage"), dict(type="Resize", scale=(48, 48))]
COUNT, THRESHOLD = 9, 0.7


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.001)
    return out / "images"


def runner_of(images, work_dir, **options):
    options = {
        "data_root": str(images),
        "train_dataloader.batch_size": 4,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_dataloader.dataset.indices": COUNT,
        "default_hooks.boxes.start": 1,
        "default_hooks.boxes.interval": 2,
        # With the heat maps of an untrained model, a threshold of .1 selects the whole image.
        "default_hooks.boxes.threshold": THRESHOLD,
        "default_hooks.boxes.loader.batch_size": 4,
        "default_hooks.boxes.loader.num_workers": 0,
        "max_epochs": 2,
        "train_cfg.max_epochs": 2,
        "work_dir": str(work_dir),
        **options,
    }
    config = load_config(CONFIG, options)
    config.custom_hooks = [h for h in config.custom_hooks if "Teacher" in h.type]
    runner = build_runner(config)
    hook = next(h for h in runner.hooks if isinstance(h, BoxUpdateHook))
    return runner, hook


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A run of two epochs that computes boxes before the second, and its teacher at that time."""
    work_dir = tmp_path_factory.mktemp("run")
    worker = {"train_dataloader.num_workers": 1, "train_dataloader.persistent_workers": True}
    runner, hook = runner_of(images, work_dir, **worker)
    update, teachers = hook._update, []

    def spy(runner):
        update(runner)
        teacher = runner.model.teacher.backbone.state_dict()
        teachers.append((runner.epoch, {k: v.clone() for k, v in teacher.items()}))

    hook._update = spy
    runner.train()
    return runner, hook, teachers, work_dir


def test_boxes_equal_a_slow_reference_from_the_teacher_s_heat_maps(trained):
    runner, hook, teachers, _ = trained
    assert [epoch for epoch, _ in teachers] == [1]
    vit = runner.model.teacher.backbone
    now = {k: v.clone() for k, v in vit.state_dict().items()}
    vit.load_state_dict(teachers[0][1])
    vit.eval()
    dataset = runner.train_dataloader.dataset
    mean, std = runner.model.data_preprocessor.mean, runner.model.data_preprocessor.std
    assert len(hook.store) == len(dataset) == COUNT and hook.store.active
    wrong = 0
    for index in range(COUNT):
        image = mmcv.imread(dataset.get_data_info(index)["img_path"])
        image = mmcv.imresize(image, (48, 48), interpolation="bicubic", backend="pillow")
        image = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()
        tokens, grid = tokens_of_mmpretrain(vit, (image - mean) / std)
        qkv = vit.layers[-1].attn.qkv
        heat = slow_class_attention(tokens, qkv.weight.detach(), qkv.bias.detach(), 4)[1:]
        heat = [heat[row * grid[1] : (row + 1) * grid[1]] for row in range(grid[0])]
        wanted = slow_box(heat, (48, 48), THRESHOLD)
        # A pixel close to the threshold may be on the other side of it in float32.
        wrong += hook.store.box(index) != pytest.approx(wanted, abs=1e-6)
        assert hook.store.box(index) == pytest.approx(wanted, abs=1.01 / 48)
    assert wrong <= 1
    assert len({tuple(box) for box in hook.store.boxes.tolist()}) > 3
    vit.load_state_dict(now)


def test_boxes_are_saved_once_they_exist(trained):
    _, hook, _, work_dir = trained
    assert "boxes" not in read_checkpoint(work_dir / "epoch_1.pth")
    saved = read_checkpoint(work_dir / "epoch_2.pth")["boxes"]
    assert saved.dtype == torch.float32 and torch.equal(saved, hook.store.boxes)


def states_of(runner, hook):
    """Train, and return for each epoch whether the store was active and its boxes at batch 0."""
    states = []

    def before_train_iter(runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            states.append((hook.store.active, hook.store.boxes.clone()))

    runner.hooks[-1].before_train_iter = before_train_iter
    runner.train()
    return states


def test_boxes_are_restored_when_a_run_is_resumed(trained, images, tmp_path):
    _, _, _, work_dir = trained
    saved = read_checkpoint(work_dir / "epoch_2.pth")["boxes"]
    longer = {"max_epochs": 4, "train_cfg.max_epochs": 4}
    runner, hook = runner_of(
        images, tmp_path, load_from=str(work_dir / "epoch_2.pth"), resume=True, **longer
    )
    (active, boxes), (_, later) = states_of(runner, hook)
    # Epoch 2 has the saved boxes, epoch 3 has new ones.
    assert active and torch.equal(boxes, saved) and not torch.equal(later, saved)
    loaded = dataset_with_pipeline(runner.train_dataloader.dataset).pipeline.transforms[1].boxes
    assert loaded is hook.store

    # Loading weights without resuming does not load the boxes.
    runner, hook = runner_of(images, tmp_path, load_from=str(work_dir / "epoch_2.pth"))
    (active, _), (second, _) = states_of(runner, hook)
    assert not active and second

    # A resumed run without boxes computes them immediately if they are overdue.
    state = read_checkpoint(work_dir / "epoch_2.pth")
    del state["boxes"]
    torch.save(state, tmp_path / "without.pth")
    once = {"max_epochs": 3, "train_cfg.max_epochs": 3}
    runner, hook = runner_of(
        images, tmp_path, load_from=str(tmp_path / "without.pth"), resume=True, **once
    )
    assert [active for active, _ in states_of(runner, hook)] == [True]

    # Boxes of another data set are rejected.
    runner, hook = runner_of(
        images, tmp_path, load_from=str(work_dir / "epoch_2.pth"), resume=True, **longer,
        **{"train_dataloader.dataset.indices": COUNT - 1},
        **{"default_hooks.checkpoint.allow_changes": True},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"shape \(9, 4\), but the training set has 8 images"):
        runner.train()


def test_the_box_of_a_skipped_image_is_the_whole_image(images, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(images, copy)
    runner, hook = runner_of(images, tmp_path / "a")
    runner.train_loop  # noqa: B018  (built at first use)
    files = [
        d["img_path"] for d in map(runner.train_dataloader.dataset.get_data_info, range(COUNT))
    ]
    hook.before_train(runner)
    hook._update(runner)
    victim = next(i for i in range(COUNT) if hook.store.box(i) != (0, 0, 1, 1))
    broken = copy / Path(files[victim]).relative_to(images)
    broken.write_bytes(broken.read_bytes()[:300])

    runner, skipping = runner_of(copy, tmp_path / "b", on_error="skip")
    runner.train_loop  # noqa: B018
    skipping.before_train(runner)
    skipping._update(runner)
    wanted = hook.store.boxes.clone()
    wanted[victim] = torch.tensor([0.0, 0, 1, 1])
    assert torch.equal(skipping.store.boxes, wanted)

    runner, stopping = runner_of(copy, tmp_path / "c")
    runner.train_loop  # noqa: B018
    stopping.before_train(runner)
    with pytest.raises(InputError, match=rf"{broken.name} is truncated"):
        stopping._update(runner)


@pytest.mark.parametrize(
    "start, interval, wanted", [(2, 3, [2, 5, 8]), (0, 4, [0, 4, 8]), (40, 20, []), (None, 1, [])]
)
def test_when_boxes_are_computed(start, interval, wanted):
    hook = BoxUpdateHook(dict(pipeline=PIPELINE), start=start, interval=interval)
    if start is not None:
        hook.store = BoxStore()
        hook.store.allocate(1)
    computed = []

    def update(runner):
        computed.append(runner.epoch)
        hook.store.update(torch.tensor([0]), torch.tensor([[0.0, 0, 1, 1]]))

    hook._update = update
    for epoch in range(10):
        hook.before_train_epoch(SimpleNamespace(epoch=epoch))
    assert computed == wanted


def test_switched_off_and_on_by_the_config():
    on = load_config(CONFIG).default_hooks.boxes
    assert (on.start, on.interval, on.type) == (2, 2, "bam_mm.BoxUpdateHook") and on.loader.pipeline
    off = load_config(CONFIG, {"default_hooks.boxes.start": None}).default_hooks.boxes
    assert off.start is None and off.loader == on.loader
    base = load_config(str(CONFIG).replace("-contrastive-crop", "")).default_hooks.boxes
    assert base.start is None and base.loader == on.loader

    # The command line only has strings: it sets the variable, or the argument of the hook.
    def options(*words):
        parser = ArgumentParser()
        add_common_arguments(parser)
        return parser.parse_args(["c.py", "--cfg-options", *words]).cfg_options

    again = load_config(
        str(CONFIG).replace("-contrastive-crop", ""), options("boxes.start=4", "on_error=skip")
    )
    assert again.default_hooks.boxes.start == 4
    assert again.default_hooks.boxes.loader.pipeline[0].on_error == "skip"
    without = load_config(CONFIG, options("default_hooks.boxes.start=None"))
    assert without.default_hooks.boxes.start is None
    # If it is off, the hook uses neither the runner nor the checkpoint.
    hook = BoxUpdateHook(dict(pipeline=PIPELINE), start=None)
    checkpoint = {}
    hook.before_train(None)
    hook.before_save_checkpoint(None, checkpoint)
    assert checkpoint == {}


def test_warning_of_a_start_beyond_the_end(images, tmp_path):
    runner, hook = runner_of(images, tmp_path, **{"default_hooks.boxes.start": 7})
    logged = []
    runner.logger.warning = logged.append
    runner.train_loop  # noqa: B018  (built at first use)
    hook.before_train(runner)
    assert logged == [
        "ContrastiveCrop starts after 7 epochs, but the run has 2: all crops are plain random "
        "resized crops"
    ]


def test_wrong_input(images, tmp_path):
    for pipeline, words in (
        ([], "has no pipeline"),
        ([*PIPELINE, dict(type="CenterCrop", crop_size=48)], "has CenterCrop, but boxes are"),
        ([dict(type="mmpretrain.RandomFlip")], r"has mmpretrain\.RandomFlip"),
    ):
        with pytest.raises(InputError, match=words):
            BoxUpdateHook(dict(pipeline=pipeline))
    loader = dict(pipeline=PIPELINE)
    with pytest.raises(
        InputError, match="start=-1, interval=20: start must be a number of epochs from 0"
    ):
        BoxUpdateHook(loader, start=-1)
    with pytest.raises(InputError, match="interval=0"):
        BoxUpdateHook(loader, interval=0)
    with pytest.raises(InputError, match=r"threshold=1\.5"):
        BoxUpdateHook(loader, threshold=1.5)

    by_iteration = SimpleNamespace(train_loop=SimpleNamespace())
    with pytest.raises(InputError, match="counts epochs, but train_cfg is of type SimpleNamespace"):
        BoxUpdateHook(loader).before_train(by_iteration)

    no_teacher = {"model.use_teacher": False}
    runner, hook = runner_of(images, tmp_path, **no_teacher)
    runner.train_loop  # noqa: B018
    with pytest.raises(InputError, match=r"branch='teacher', but the model has none .*'student'"):
        hook.before_train(runner)
    hook.branch = "student"
    hook.before_train(runner)
    hook._update(runner)
    assert hook.store.active
    hook.branch = "mean"
    with pytest.raises(InputError, match="branch 'mean' does not exist: this model has a student"):
        hook.before_train(runner)

    init_default_scope("mmpretrain")
    plain = ImageFolder(str(images), pipeline=[dict(type="bam_mm.LoadImage")])
    with pytest.raises(InputError, match=r"no bam_mm\.MultiCrop in the .* pipeline \(LoadImage\)"):
        store_of(plain)
    with pytest.raises(InputError, match="one training set with a pipeline, not ConcatDataset"):
        dataset_with_pipeline(torch.utils.data.ConcatDataset([plain, plain]))
    assert dataset_with_pipeline(torch.utils.data.Subset(plain, [1])) is plain
