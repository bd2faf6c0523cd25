"""Settings of the pretraining configs: names, the paper's tables, released scripts, ablations."""

from pathlib import Path

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope
from mmpretrain.registry import MODELS, PARAM_SCHEDULERS
from torch import nn

from bam_mm.launch.config import load_config

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[2] / "configs/pretrain"
PRETRAIN = sorted(FOLDER.glob("*.py"))
SMALL_150 = "bam_vit-small-p16_16xb256-amp-coslr-150e_in1k"
RESNET = "bam_resnet50_16xb256-amp-coslr-300e_in1k"
TOY = "bam_vit-toy-p8_1xb64-coslr-12e_toy"
NO_TEACHER = {
    "model.use_teacher": (None, False),
    "custom_hooks": "first left out",
    "default_hooks.boxes.branch": (None, "student"),
    "test_cfg.branch": ("teacher", "student"),
}


def settings(stem):
    return load_config(FOLDER / f"{stem}.py")


@pytest.mark.parametrize("path", PRETRAIN, ids=lambda p: p.stem)
def test_names_match_the_settings(path):
    config = load_config(path)
    name = path.stem
    gpus, batch = (int(x) for x in name.split("_")[2].split("-")[0].split("xb"))
    assert config.train_dataloader.batch_size == batch
    if "auto_scale_lr" in config:
        assert config.auto_scale_lr.base_batch_size == gpus * batch
    assert f"-{config.train_cfg.max_epochs}e_" in name
    assert config.train_cfg.max_epochs == config.max_epochs == config.param_scheduler[1].end
    assert ("amp" in name) == (config.optim_wrapper.type == "bam_mm.AmpOptimWrapper")
    layouts = [
        config.layout,
        config.model.get("layout", config.layout),  # SimCLR has no layout of its own.
        config.model.data_preprocessor.layout,
        config.train_dataloader.dataset.pipeline[1].layout,
        config.train_pipeline[1].layout,
    ]
    assert all(dict(layout) == dict(config.layout) for layout in layouts)


def test_simclr_differs_from_bam_only_in_the_algorithm():
    bam, simclr = (
        load_config(FOLDER / f"{name}_resnet18-w16_1xb256-coslr-8e_cifar10.py")
        for name in ("bam", "simclr")
    )
    assert simclr.model.type == "SimCLR"
    for part in ("backbone", "data_preprocessor"):
        assert simclr.model[part] == bam.model[part]
    assert simclr.custom_hooks == bam.custom_hooks[1:]
    assert {key for key in bam if bam[key] != simclr[key]} == {"model", "custom_hooks"}


@pytest.mark.parametrize(
    "stem,epochs",
    [
        (SMALL_150, 150),
        ("bam_vit-small-p16_16xb256-amp-coslr-300e_in1k", 300),
        ("bam_vit-base-p16_16xb256-amp-coslr-300e_in1k", 300),
        ("bam_caformer-m36_16xb256-amp-coslr-300e_in1k", 300),
        (RESNET, 300),
        (f"{RESNET}-lr0.3", 300),
    ],
)
def test_table_9a_of_the_paper(stem, epochs):
    config = settings(stem)
    resnet = "resnet" in stem
    optimizer = config.optim_wrapper.optimizer
    assert optimizer.type == ("bam_mm.LARS" if resnet else "AdamW")
    # MoCo v3's and SimCLR's .3 belongs to 256 images, see docs/faithfulness.md.
    assert optimizer.lr == {RESNET: 0.3 * 4096 / 256, f"{RESNET}-lr0.3": 0.3}.get(stem, 3e-3)
    assert optimizer.weight_decay == (1e-6 if resnet else 0.04)
    assert config.optim_wrapper.clip_grad.max_norm == 0.3
    assert config.auto_scale_lr.base_batch_size == 4096
    warmup, cosine, *decay = config.param_scheduler
    start = 10 if resnet else 40
    assert (warmup.end, cosine.begin, cosine.end) == (start, start, epochs)
    assert [d.eta_min for d in decay] == ([] if resnet else [0.4])
    assert dict(config.layout) == dict(num_global=2, num_local=6, global_size=224, local_size=96)
    crops = config.train_dataloader.dataset.pipeline[1]
    assert (crops.global_scale, crops.local_scale) == ((0.25, 1.0), (0.05, 0.25))
    assert config.model.neck.hid_channels == config.model.neck.out_channels == 4096
    assert config.model.neck.get("act_cfg", {}).get("type", "GELU") == (
        "ReLU" if resnet else "GELU"
    )
    head = config.model.head
    assert (head.temperature, head.target_temperature, head.sinkhorn_iters) == (0.1, 0.05, 3)
    assert "top_k" not in head and "teacher_views" not in config.model
    boxes = config.default_hooks.boxes
    assert (boxes.start, boxes.interval) == (40, 20)


@pytest.mark.parametrize("backbone", ["vit-small-p16", "vit-base-p16", "caformer-m36"])
def test_released_scripts(backbone):
    config = settings(f"bam_{backbone}_16xb256-amp-coslr-400e_in1k_released")
    assert config.optim_wrapper.optimizer.lr == pytest.approx(0.0003 * 4096 / 256)
    assert config.optim_wrapper.dtype == "float16"
    assert config.optim_wrapper.clip_grad.max_norm == 0.3
    warmup, cosine, decay = config.param_scheduler
    assert (warmup.end, cosine.end, cosine.eta_min, decay.eta_min) == (40, 400, 1e-3, 0.4)
    assert warmup.start_factor * 4.8e-3 < 1e-8
    head = config.model.head
    assert (head.temperature, head.target_temperature, head.top_k) == (0.1, 0.05, 128)
    assert config.model.teacher_views == "all"
    assert (config.default_hooks.boxes.start, config.default_hooks.boxes.interval) == (40, 40)
    paper = settings(f"bam_{backbone}_16xb256-amp-coslr-300e_in1k")
    assert config.model.backbone == paper.model.backbone
    assert config.model.neck == paper.model.neck


def flat(node, prefix=""):
    """Return the leaves of a config by dotted path; lists are leaves."""
    leaves = {}
    for key, value in node.items():
        if isinstance(value, dict):
            leaves.update(flat(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


ABLATIONS = {
    "no-masking": {"model.head.mask_positives": (None, False)},
    "no-global-normalisation": {"model.head.global_normalisation": (None, False)},
    "no-balancing": {"model.head.sinkhorn_iters": (3, 0)},
    "no-teacher": NO_TEACHER,
    "student-only-bn": {**NO_TEACHER, "model.neck.norm": (None, True)},
}
ABLATIONS_IN1K = {
    "no-contrastive-crop": {"default_hooks.boxes.start": (40, None)},
    "no-multi-crop": {
        "layout.num_local": (6, 0),
        "model.layout.num_local": (6, 0),
        "model.data_preprocessor.layout.num_local": (6, 0),
    },
}
ABLATIONS_TOY = {
    "contrastive-crop": {
        "default_hooks.boxes.start": (None, 2),
        "default_hooks.boxes.interval": (None, 2),
    },
    "multi-crop": {
        f"{place}layout.{key}": (old, new)
        for place in ("", "model.", "model.data_preprocessor.")
        for key, old, new in (("num_local", 0, 4), ("local_size", None, 24))
    },
}
PIPELINES = ("train_pipeline", "train_dataloader.dataset.pipeline")
PHOTOMETRIC = ("photometric", "model.data_preprocessor.photometric")


@pytest.mark.parametrize(
    "base,name,expected",
    [(SMALL_150, *item) for item in {**ABLATIONS, **ABLATIONS_IN1K}.items()]
    + [(TOY, *item) for item in {**ABLATIONS, **ABLATIONS_TOY}.items()],
)
def test_an_ablation_changes_only_the_named_settings(base, name, expected):
    before, after = flat(settings(base)), flat(settings(f"{base}-{name}"))
    changed = {
        key: (before.get(key), after.get(key))
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    }
    expected = dict(expected)
    if base == SMALL_150 and name == "student-only-bn":
        expected["sync_bn"] = (None, "torch")
    if "custom_hooks" in expected:
        old, new = changed.pop("custom_hooks")
        expected.pop("custom_hooks")
        assert new == old[1:] and old[0].type == "bam_mm.TeacherUpdateHook"
    if "multi-crop" in name:
        for place in PIPELINES:
            old, new = changed.pop(place)
            assert new[0] == old[0] and new[2:] == old[2:]
            layout = {**old[1].layout, **{k[7:]: v[1] for k, v in expected.items() if k[0] == "l"}}
            assert new[1].layout == layout
            assert {k: v for k, v in new[1].items() if k not in ("layout", "photometric")} == {
                k: v for k, v in old[1].items() if k not in ("layout", "photometric")
            }
            if base == TOY:
                assert new[1].photometric[:2] == old[1].photometric
                assert len(new[1].photometric) == 6
        for place in PHOTOMETRIC if base == TOY else ():
            old, new = changed.pop(place)
            assert new[:2] == old and len(new) == 6
    assert changed == expected


def test_every_ablation_is_tested():
    found = {
        (base, path.stem.removeprefix(f"{base}-"))
        for path in PRETRAIN
        for base in (SMALL_150, TOY)
        if path.stem.startswith(f"{base}-")
    }
    listed = {(SMALL_150, name) for name in {**ABLATIONS, **ABLATIONS_IN1K}}
    assert found == listed | {(TOY, name) for name in {**ABLATIONS, **ABLATIONS_TOY}}


@pytest.mark.parametrize(
    "stem,heads,width,depth,millions",
    [
        (SMALL_150, 12, 384, 12, 21.6655),
        ("bam_vit-base-p16_16xb256-amp-coslr-300e_in1k", 12, 768, 12, 85.7987),
    ],
)
def test_vit_sizes(stem, heads, width, depth, millions):
    backbone = backbone_of(stem)
    assert len(backbone.layers) == depth and backbone.embed_dims == width
    assert backbone.layers[0].attn.num_heads == heads
    # Patches 768w + w, class token w, positions 197w, blocks 12 (12w^2 + 13w), norm 2w.
    expected = (
        768 * width + width + width + 197 * width + 12 * (12 * width**2 + 13 * width) + 2 * width
    )
    count = sum(p.numel() for p in backbone.parameters())
    assert count == expected
    assert count / 1e6 == pytest.approx(millions, abs=1e-3)
    assert not backbone.patch_embed.projection.weight.requires_grad


def test_other_sizes():
    # ResNet-50 without the classifier (2048 * 1000 + 1000 of torchvision's 25,557,032).
    resnet = backbone_of(RESNET)
    assert sum(p.numel() for p in resnet.parameters()) == 25_557_032 - 2_049_000
    # ResNet-18 without the classifier (512 * 1000 + 1000 of torchvision's 11,689,512), 3x3 stem.
    small = backbone_of("bam_resnet18_1xb512-amp-coslr-200e_cifar10")
    stem = (7 * 7 - 3 * 3) * 3 * 64
    assert sum(p.numel() for p in small.parameters()) == 11_689_512 - 513_000 - stem
    tiny = backbone_of("bam_vit-tiny-p4_1xb512-amp-coslr-200e_cifar10")
    w = 192
    expected = 48 * w + w + w + 65 * w + 12 * (12 * w**2 + 13 * w) + 2 * w
    assert sum(p.numel() for p in tiny.parameters()) == expected


def backbone_of(stem):
    init_default_scope("mmpretrain")
    return MODELS.build(settings(stem).model.backbone)


def schedule(stem, steps_per_epoch=2):
    """Return (learning rate, weight decay of weights, weight decay of norms) at every iteration."""
    config = settings(stem)
    # Names that match the rules of the configs.
    layers = nn.ModuleDict({"fc": nn.Linear(2, 2, bias=False), "bn": nn.LayerNorm(2)})
    model = nn.ModuleDict({"backbone": layers})
    wrapper = dict(config.optim_wrapper, type="OptimWrapper")
    wrapper.pop("dtype", None)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        wrapper = build_optim_wrapper(model, wrapper)
        schedulers = []
        for scheduler in config.param_scheduler:
            scheduler = dict(scheduler)
            kind = PARAM_SCHEDULERS.get(scheduler.pop("type"))
            assert scheduler.pop("convert_to_iter_based")
            schedulers.append(
                kind.build_iter_from_epoch(
                    optimizer=wrapper, epoch_length=steps_per_epoch, **scheduler
                )
            )
    groups = {id(p): g for g in wrapper.param_groups for p in g["params"]}
    weight, norm = (groups[id(layers[name].weight)] for name in ("fc", "bn"))
    values = []
    for _ in range(config.max_epochs * steps_per_epoch):
        values.append((weight["lr"], weight["weight_decay"], norm["weight_decay"]))
        for scheduler in schedulers:
            scheduler.step()
    return values


@pytest.mark.parametrize(
    "stem,warmup,peak,last,decay",
    [
        (SMALL_150, 40, 3e-3, 1e-6, (0.04, 0.4)),
        ("bam_vit-base-p16_16xb256-amp-coslr-300e_in1k", 40, 3e-3, 1e-6, (0.04, 0.4)),
        ("bam_vit-base-p16_16xb256-amp-coslr-400e_in1k_released", 40, 4.8e-3, 1e-3, (0.04, 0.4)),
        (RESNET, 10, 4.8, 1e-6, (1e-6, 1e-6)),
        (f"{RESNET}-lr0.3", 10, 0.3, 1e-6, (1e-6, 1e-6)),
        ("bam_resnet18_1xb512-amp-coslr-200e_cifar10", 10, 1e-3, 1e-6, (0.04, 0.04)),
    ],
)
def test_learning_rate_and_weight_decay_over_the_epochs(stem, warmup, peak, last, decay):
    values = schedule(stem)
    rates = [value[0] for value in values]
    # Linear from almost 0 at iteration 0 to the peak at the last iteration of the warm-up.
    assert rates[0] < 2e-4 * peak
    assert rates[warmup] == pytest.approx(peak * warmup / (2 * warmup - 1), rel=1e-3)
    assert max(rates) == pytest.approx(peak, rel=1e-3)
    assert rates.index(max(rates)) == pytest.approx(2 * warmup, abs=2)
    middle = (len(rates) + 2 * warmup) // 2
    assert rates[middle] == pytest.approx((peak + last) / 2, rel=0.02)
    assert last <= rates[-1] < last + 1e-3 * peak
    assert values[0][1] == pytest.approx(decay[0])
    assert values[len(values) // 2][1] == pytest.approx(sum(decay) / 2, rel=0.02)
    assert values[-1][1] == pytest.approx(decay[1], rel=1e-3)
    assert {value[2] for value in values} == {0.0}


@pytest.mark.parametrize(
    "path",
    [p for p in PRETRAIN if "_in1k" in p.stem and "-150e_" not in p.stem],
    ids=lambda p: p.stem,
)
def test_batches_of_imagenet_are_copied_in_the_background(path):
    config = load_config(path)
    assert config.model.data_preprocessor.non_blocking and config.train_dataloader.pin_memory
    hooks = [hook.type for hook in config.custom_hooks]
    assert ("bam_mm.ChannelsLastHook" in hooks) == (config.model.backbone.type == "ResNet")
