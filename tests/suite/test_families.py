"""The table model family x task: every pair works, or stops with a reason that applies."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample

from bam_mm import DAVISDataset, InputError
from bam_mm.checkpoint import BackboneSource, parse_backbone
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import find_config
from bam_mm.models.adapters import adapter_of
from bam_mm.models.linear_probe import tensor_digests
from bam_mm.models.patch_features import build_map_backbone, feature_map
from bam_mm.registry import MODELS
from bam_mm.suite.fitting import family_of, fit
from bam_mm.suite.models import Model
from tests.models.davis_stubs import write_videos
from tests.models.families import BY_NAME, FAMILIES, build

pytestmark = pytest.mark.slow

KNN = find_config("cls/vit-toy-p8_knn_toy")
LINEAR = find_config("cls/vit-toy-p8_1xb64-linear-coslr-10e_toy")
FINETUNE = find_config("cls/vit-toy-p8_1xb64-coslr-4e_toy")
PETS = find_config("cls/vit-base-p16_8xb16-amp-coslr-100e_pets")
VIDEO = {
    "vit": find_config("vos/vit-base-p16_label-propagation_davis2017"),
    "cnn": find_config("vos/resnet50_label-propagation_davis2017"),
}
SIDE = 48


def model_of(config, name="A"):
    return Model(name, name, BackboneSource("random:x", "random", dict(config), None), "")


def fitted(path, family, **options):
    """Return the built model of a task for a family, the config and the notes."""
    torch.manual_seed(0)
    config = load_config(path, options)
    notes = fit(config, model_of(family.config))
    init_default_scope("mmpretrain")
    return MODELS.build(config.model), config, notes


def batch(number=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(number, 3, SIDE, SIDE, generator=generator)


def optimizer_of(model, config):
    settings = {k: v for k, v in config.optim_wrapper.items() if k != "dtype"}
    return build_optim_wrapper(model, {**settings, "type": "OptimWrapper"}).optimizer


def step(model, config):
    """Do one step of a training and return the gradients by name, and the loss."""
    optimizer = optimizer_of(model, config)
    samples = [DataSample().set_gt_label(n % 3) for n in range(4)]
    loss = model.train()(batch(), samples, mode="loss")["loss"]
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    return {k: p.grad for k, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_frozen_features(family):
    model, config, _ = fitted(KNN, family)
    model.load_pretrained("random")
    features = model(batch())
    adapter = adapter_of(model.backbone)
    outputs = adapter.outputs(batch(), 1)
    # The loss of BEiT leaves [CLS] out.
    takes_cls = family.cls is not None and not family.name.endswith("-beit")
    assert config.model.feature == ("cls" if takes_cls else "mean")
    last = outputs[-1]
    if takes_cls:
        wanted = last[:, family.cls]
    elif last.ndim == 4:
        wanted = last.mean((2, 3))
    else:
        wanted = last[:, family.prefix :].mean(1) if last.ndim == 3 else last
    torch.testing.assert_close(features, wanted.float(), rtol=1e-5, atol=1e-5)
    assert len({tuple(row) for row in features.tolist()}) == 4  # The images are told apart.


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_linear_probe(family):
    model, config, _ = fitted(LINEAR, family)
    before, head = tensor_digests(model.backbone), model.head.fc.bias.clone()
    assert {*step(model, config)} == {"head.fc.weight", "head.fc.bias"}
    assert tensor_digests(model.backbone) == before
    assert not torch.equal(model.head.fc.bias, head)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_fine_tuning(family):
    model, config, notes = fitted(FINETUNE, family)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients = step(model, config)
    assert {*gradients} == {*before}
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert len(changed) > 0.8 * len(gradients)
    takes_drop_path = not family.name.startswith("own")
    assert any("no drop path (0.1" in note for note in notes) != takes_drop_path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    root = write_videos(tmp_path_factory.mktemp("videos"), count=1, frames=3)
    return DAVISDataset(str(root)).videos[0]


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_video(family, video):
    transformer = bool(family.prefix) or len({*family.strides}) == 1
    assert (family_of(model_of(family.config)) == "vit") == transformer
    path = VIDEO["vit" if transformer else "cnn"]
    small = {"model.short_side": 64, "model.divisor": 32}
    if "video" in family.stops:
        with pytest.raises(InputError, match=family.stops["video"]):
            fitted(path, family, **small)
        return
    model, config, notes = fitted(path, family, **small)
    stage = len(family.strides) - 1 if transformer else min(2, len(family.strides) - 1)
    stride = family.strides[stage]
    height = round(64 / stride) * stride
    result = model.eval().predict(video)
    assert result["predictions"][5, 7].shape == (3, *video.size)
    maps = next(model.features(video))
    assert maps.shape[:2] == (family.widths[stage], height // stride)
    assert notes[-1].startswith(f"video: stage {stage} (")
    assert notes[-1].endswith(f"one vector for {stride}x{stride} pixels of the input")
    assert (config.model.get("short_side"), 64 % stride == 0) in ((64, True), (height, False))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_dense_knn(family):
    transformer = bool(family.prefix) or len({*family.strides}) == 1
    path = find_config(f"seg/{'vit-base-p16' if transformer else 'resnet50'}_dense-knn_ade20k")
    config = load_config(path)
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == "Resize":
            step.scale = (64, 64)
    config.test_cfg.bank.dataset.pipeline = config.test_dataloader.dataset.pipeline
    if not family.strides:
        with pytest.raises(InputError, match=family.stops["video"]):
            fit(config, model_of(family.config))
        return
    notes = fit(config, model_of(family.config))
    stride = family.strides[-1]
    assert notes[-1].startswith(f"dense kNN: stage {len(family.strides) - 1} (")
    assert notes[-1].endswith(f"one vector for {stride}x{stride} pixels of the input")
    for loader in (config.test_dataloader, config.test_cfg.bank):
        [size] = [s.scale for s in loader.dataset.pipeline if s.type == "Resize"]
        assert size[0] == size[1] and size[0] % stride == 0 and 64 - stride < size[0] <= 64
    maps = MODELS.build(config.model)(torch.randn(2, 3, *size))
    assert maps.shape == (2, family.widths[-1], size[0] // stride, size[0] // stride)


@pytest.mark.slow
def test_one_resnet50_has_one_protocol_in_video():
    shapes = []
    for spec in ("random:resnet50", "random:timm:resnet50", "random:torchvision:resnet50"):
        source = parse_backbone(spec)
        config = load_config(VIDEO["cnn"])
        notes = fit(config, Model("A", "A", source, ""))
        assert config.model.stage == 2 and "one vector for 16x16 pixels" in notes[-1]
        backbone = build_map_backbone(config.model.backbone, config.model.stage).to("meta")
        frame = torch.zeros(1, 3, 480, 832, device="meta")
        shapes.append(tuple(feature_map(backbone, frame, config.model.stage).shape))
    assert shapes == [(1, 1024, 30, 52)] * 3


def test_a_swin_of_timm_is_classified_by_its_channels():
    # Its maps are NHWC: the width is the last length, not the second (2 for images of 48 pixels).
    _, config, _ = fitted(FINETUNE, BY_NAME["timm-swin"])
    assert config.model.head.in_channels == 96
    assert config.model.neck == dict(type="bam_mm.PoolFeatures", layout="NHWC", width=96)
    _, config, _ = fitted(LINEAR, BY_NAME["timm-swin"])
    assert config.model.head.in_channels == 96


def test_a_distilled_deit_of_mmpretrain_is_fine_tuned_by_its_class_token():
    arch = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48)
    backbone = dict(type="mmpretrain.DistilledVisionTransformer", arch=arch, patch_size=16)
    config = load_config(FINETUNE)
    fit(config, model_of(backbone))
    init_default_scope("mmpretrain")
    model = MODELS.build(config.model)
    gradients = step(model, config)
    assert {*gradients} == {name for name, _ in model.named_parameters()}
    tokens = adapter_of(model.eval().backbone).tokens(batch())[0]
    torch.testing.assert_close(model.extract_feat(batch())[0], tokens[:, 0])


def test_patches_of_14_pixels():
    family = BY_NAME["timm-dinov2-registers"]
    _, config, notes = fitted(KNN, family)
    assert notes == ["images of 48x48 pixels are padded to 56x56, whole patches of 14 pixels"]
    assert config.model.backbone.dynamic_img_pad
    _, config, notes = fitted(VIDEO["vit"], family)
    assert (config.model.short_side, config.model.divisor) == (476, 56)
    assert notes[:3] == [
        "short_side: 480 -> 476",
        "divisor: 64 -> 56",
        "video: frames are resized to whole patches of 14 pixels",
    ]


def test_a_stage_that_is_too_coarse_is_exchanged():
    # EfficientViT's maps have strides 16, 32 and 64; stage 2 would have patches of 64 pixels.
    config = load_config(VIDEO["cnn"])
    backbone = dict(type="mmpretrain.TIMMBackbone", model_name="efficientvit_m0")
    notes = fit(config, model_of(backbone))
    assert config.model.stage == 0 and "stage: 2 -> 0" in notes
    assert notes[-1].endswith("one vector for 16x16 pixels of the input")


def test_groups_without_weight_decay_cover_the_tokens_of_every_library():
    cases = {
        "timm-dinov2-registers": {".reg_token", ".gamma"},
        "torchvision-vit": {".class_token", ".in_proj_bias"},
        "mmpretrain-vit": set(),
    }
    for name, wanted in cases.items():
        model, config, notes = fitted(PETS, BY_NAME[name])
        keys = config.optim_wrapper.paramwise_cfg.custom_keys
        assert {*keys} == {".cls_token", ".pos_embed"} | wanted
        assert any(note.startswith("no weight decay of") for note in notes) == bool(wanted)
        decayed = {
            id(p)
            for g in optimizer_of(model, config).param_groups
            if g["weight_decay"]
            for p in g["params"]
        }
        for key, parameter in model.backbone.named_parameters():
            embeds = key.rpartition(".")[2] in ("class_token", "reg_token", "cls_token")
            exempt = embeds or parameter.ndim == 1 or "pos_embed" in key
            assert (id(parameter) in decayed) != exempt, key


def test_a_probe_takes_the_blocks_that_there_are():
    options = {"model.blocks": 4, "model.feature": "cls"}
    _, config, notes = fitted(LINEAR, BY_NAME["timm-cait"], **options)
    assert config.model.blocks == 1 and "blocks: 4 -> 1" in notes
    assert "the backbone is built for images of 48x48 pixels" in notes
    assert config.model.head.in_channels == 24
    _, config, notes = fitted(LINEAR, BY_NAME["own-tokens"], **options)
    assert config.model.blocks == 1 and config.model.head.in_channels == 6


def test_a_model_whose_pooling_cannot_be_removed_stops():
    with pytest.raises(InputError, match=r"does not build coat_lite_tiny \(AssertionError: Only"):
        family_of(model_of(dict(type="mmpretrain.TIMMBackbone", model_name="coat_lite_tiny")))


def test_random_weights_of_a_family_differ_by_seed():
    family = BY_NAME["torchvision-vit"]
    torch.manual_seed(1)
    first = MODELS.build(family.config)
    assert not torch.equal(first.conv_proj.weight, build(family).conv_proj.weight)
