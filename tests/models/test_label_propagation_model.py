"""The model for label propagation through a video."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope

from bam_mm import DAVISDataset, InputError, LabelPropagation
from bam_mm.data.toy.davis import HEIGHT, WIDTH
from bam_mm.evaluation import (
    davis_j_and_f,
    davis_summary,
    propagate_labels,
    propagate_video,
    read_out,
)
from bam_mm.launch.config import load_config
from bam_mm.models.label_propagation import input_size
from bam_mm.models.patch_features import build_map_backbone, feature_map
from bam_mm.registry import MODELS
from tests.models.davis_stubs import PLAIN, TOY_VIT, write_videos

pytestmark = pytest.mark.slow

NAMES = dict(type="bam_mm.ColourNames")
CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs/vos").glob("*.py"))


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    root = write_videos(tmp_path_factory.mktemp("painted"), count=2, frames=5, painted=True)
    return DAVISDataset(str(root)).videos


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    root = write_videos(tmp_path_factory.mktemp("toy"), count=1, frames=6)
    return DAVISDataset(str(root)).videos


def model_of(backbone=TOY_VIT, seed=0, **kwargs):
    torch.manual_seed(seed)
    kwargs = dict(short_side=96, divisor=8) | kwargs
    model = LabelPropagation(backbone, **kwargs).eval()
    if hasattr(model.backbone, "init_weights"):
        model.backbone.init_weights()
    return model


def map_backbone(*args):
    backbone = build_map_backbone(*args)
    backbone.eval()  # mmpretrain's eval() returns None.
    return backbone


def j_and_f(videos, predictions):
    pairs = zip(videos, predictions, strict=True)
    return davis_summary([o for v, p in pairs for o in davis_j_and_f(v.truth(), p)])["J&F"]


def test_features_that_identify_the_object_and_random_ones(painted, toy):
    # Patches of 8 pixels on frames of 336: 42 x 70 patches, 2.9 pixels of the annotation each.
    fine = dict(short_side=336, divisor=8)
    model = model_of(NAMES, **PLAIN, **fine)
    named = j_and_f(painted, [model.predict(v)["predictions"][5, 7] for v in painted])
    # The upper bound at this resolution is the score of the truth as labels of patches: .976.
    bounds = []
    for video in painted:
        truth = video.truth()
        shares = F.one_hot(torch.from_numpy(truth).long()).permute(0, 3, 1, 2).float()
        soft = F.interpolate(shares, size=(42, 70), mode="area")
        bounds.append(np.stack([read_out(s, patch_size=8, size=truth.shape[1:]) for s in soft]))
    bound = j_and_f(painted, bounds)
    assert 0.97 < bound < 0.98
    assert 0.95 <= named < bound
    model = model_of(**fine)
    random = j_and_f(toy[:1], [model.predict(toy[0])["predictions"][5, 7]])
    assert random < named - 0.2


def test_coarse_patches_lower_the_bound(painted):
    model = model_of(NAMES, **PLAIN)  # 12 x 20 patches of 10 pixels of the annotation
    named = j_and_f(painted, [model.predict(v)["predictions"][5, 7] for v in painted])
    assert 0.6 < named < 0.93


def test_several_settings_equal_separate_runs_with_one_extraction(painted, toy):
    model = model_of(NAMES, **PLAIN, topk=[3, 5, 7, 10], n_last_frames=[1, 3], batch_size=3)
    model.predict(painted[0])
    assert [len(b) for b in model.backbone.batches] == [3, 2]

    both = model_of(topk=[3, 5, 7, 10], n_last_frames=[1, 3]).predict(toy[0])["predictions"]
    assert list(both) == [(k, n) for k in (3, 5, 7, 10) for n in (1, 3)]
    for (k, n), ids in both.items():
        alone = model_of(topk=k, n_last_frames=n).predict(toy[0])["predictions"]
        np.testing.assert_array_equal(ids, alone[k, n])
    assert len({ids.tobytes() for ids in both.values()}) > 4  # the settings differ
    np.testing.assert_array_equal(both[3, 1][0], toy[0].annotation(0))


def test_video_loop_is_frame_by_frame_propagation():
    torch.manual_seed(0)
    grid, n, k = (5, 6), 2, 3
    features = torch.randn(7, 30, 8, dtype=torch.float64)
    first = torch.rand(4, *grid, dtype=torch.float64).softmax(0)
    settings = dict(radius=2, temperature=0.3)
    taken = []
    stream = (taken.append(t) or f for t, f in enumerate(features))
    outputs = propagate_video(stream, first, topk=[1, k], n_last_frames=[0, n], **settings)
    known = {0: first}
    for t, soft in enumerate(outputs, start=1):
        assert taken == list(range(t + 1))  # no frame is taken too early
        context = sorted({0, *range(max(1, t - n), t)})
        known[t] = propagate_labels(
            features[t],
            features[context],
            torch.stack([known[i] for i in context]),
            grid=grid,
            topk=k,
            **settings,
        )
        torch.testing.assert_close(soft[k, n], known[t], atol=1e-12, rtol=0)
        alone = propagate_labels(
            features[t], features[:1], first[None], grid=grid, topk=1, **settings
        )
        torch.testing.assert_close(soft[1, 0], alone, atol=1e-12, rtol=0)
    assert t == 6
    with pytest.raises(ValueError, match="at least one of each"):
        next(propagate_video(iter(features), first, topk=[]))


def test_input_of_the_backbone(toy):
    model = model_of(NAMES, short_side=64, divisor=64, mean=(0.4, 0.5, 0.6), std=(0.228, 0.2, 0.3))
    model.predict(toy[0])
    seen = torch.cat(model.backbone.batches)
    for t in (0, 5):
        image = cv2.resize(cv2.imread(toy[0].frames[t])[:, :, ::-1], (64, 64))
        wanted = (image / 255 - [0.4, 0.5, 0.6]) / [0.228, 0.2, 0.3]
        np.testing.assert_allclose(seen[t].permute(1, 2, 0), wanted, atol=1e-5)


def test_input_sizes():
    # DAVIS at 480p and in full resolution, portrait, and square (DINO's script rounds it down too).
    assert input_size((480, 854), 480, 64) == (480, 832)
    assert input_size((1080, 1920), 480, 64) == (480, 832)
    assert input_size((854, 480), 480, 64) == (832, 480)
    assert input_size((500, 500), 480, 64) == (480, 448)
    with pytest.raises(InputError, match="lower the divisor"):
        input_size((96, 100), 32, 64)


@pytest.mark.parametrize(
    ("dtype", "error", "agree"), [("float16", 5e-3, 0.99), ("bfloat16", 3e-2, 0.95)]
)
def test_half_precision_is_close(toy, dtype, error, agree):
    full, half = model_of(), model_of(dtype=dtype)
    one, two = (torch.stack(list(m.features(toy[0]))) for m in (full, half))
    assert two.dtype == getattr(torch, dtype)
    assert (one - two.float()).norm() / one.norm() < error
    one, two = (m.predict(toy[0])["predictions"][5, 7] for m in (full, half))
    assert (one == two).mean() > agree


def test_map_of_a_transformer_is_after_the_norm_and_without_class_token():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 48, 80)
    model = map_backbone({**TOY_VIT, "out_type": "cls_token"})
    out = feature_map(model, images)
    model.out_type = "raw"
    raw = model(images)[0]
    assert out.shape == (2, 32, 6, 10) and raw.shape == (2, 61, 32)
    torch.testing.assert_close(out.flatten(2).transpose(1, 2), raw[:, 1:])
    assert out.mean(1).abs().max() < 1e-5  # because of the norm, whose bias is 0


@pytest.mark.parametrize(
    ("config", "stage", "shape"),
    [
        (dict(type="mmpretrain.ResNet", depth=18), None, (512, 2, 3)),
        (dict(type="mmpretrain.ResNet", depth=18), 2, (256, 4, 6)),
        (dict(type="mmpretrain.TIMMBackbone", model_name="caformer_s18"), None, (512, 2, 3)),
        (dict(type="mmpretrain.TIMMBackbone", model_name="caformer_s18"), 2, (320, 4, 6)),
        (
            dict(
                type="mmpretrain.TIMMBackbone",
                model_name="vit_tiny_patch16_224",
                dynamic_img_size=True,
            ),
            None,
            (192, 4, 6),
        ),
    ],
)
def test_maps_of_other_backbones(config, stage, shape):
    model = map_backbone(config, stage)
    with torch.no_grad():
        assert feature_map(model, torch.randn(1, 3, 64, 96), stage).shape[1:] == shape


def test_map_of_a_timm_transformer_is_after_the_norm():
    config = dict(type="mmpretrain.TIMMBackbone", model_name="vit_tiny_patch16_224", img_size=32)
    model = map_backbone(config)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = model.timm_model.forward_features(images)
        out = feature_map(model, images)
    torch.testing.assert_close(out.flatten(2).transpose(1, 2), tokens[:, 1:])


def test_a_frame_that_cannot_be_read_is_a_fault_of_its_video(toy, tmp_path):
    root = write_videos(tmp_path, count=1, frames=6)
    frame = root / "JPEGImages/480p/v0/00004.jpg"
    frame.write_bytes(frame.read_bytes()[:900])
    result = model_of(batch_size=2).predict(DAVISDataset(str(root))[0]["video"])
    assert "00004.jpg" in result["fault"] and result["predictions"] == {}


def test_faults_that_are_not_of_the_video(toy):
    with pytest.raises(InputError, match=r"13x21 patches, which is not a whole number of pixels"):
        model_of(short_side=100, divisor=4).predict(toy[0])
    broken = model_of()
    broken.backbone.ln1.weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite: check the checkpoint"):
        broken.predict(toy[0])
    with pytest.raises(InputError, match="tested, not trained"):
        model_of()(video=toy[0], mode="loss")
    with pytest.raises(InputError, match=r"needed: set its out_type|but a map"):
        feature_map(torch.nn.Flatten(), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (dict(topk=0), "model.topk=0"),
        (dict(topk=[3, 3]), "several different ones"),
        (dict(n_last_frames=-1), "model.n_last_frames=-1"),
        (dict(topk=[]), "model.topk"),
        (dict(temperature=0), "model.temperature=0"),
        (dict(radius=-2), "model.radius=-2"),
        (dict(dtype="int8"), "model.dtype='int8'"),
        (dict(branch="ema"), "model.branch='ema'"),
        (dict(mean=(123.7, 116.3, 103.5)), "divide values for pixels in [0, 255] by 255"),
        (dict(batch_size=0), "model.batch_size=0"),
    ],
)
def test_wrong_options(option, words):
    with pytest.raises(InputError) as caught:
        model_of(**option)
    assert words in str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_predicts_a_video(path, toy):
    assert len(CONFIGS) >= 5
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        config = load_config(path, {"model.short_side": 64, "model.divisor": 32})
        assert config.test_evaluator.type == "bam_mm.DAVISMetric"
        model = MODELS.build(config.model).eval()
    stride = {"vit-toy-p8_label-propagation_toy": 4}.get(path.stem, 16)
    maps = torch.stack(list(model.features(toy[0])))
    assert maps.shape[2:] == (64 // stride, 96 // stride)
    assert model.predict(toy[0])["predictions"][5, 7].shape == (6, HEIGHT, WIDTH)


def test_random_weights_depend_on_the_seed():
    config = dict(type="bam_mm.LabelPropagation", backbone=TOY_VIT)

    def weights(seed):
        torch.manual_seed(seed)
        model = MODELS.build(config)
        assert model.load_pretrained("random") is None
        return model.backbone.layers[0].attn.qkv.weight.detach()

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))
