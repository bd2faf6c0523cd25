"""Attention of each head compared with NumPy, and the tool on a user's images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bam_mm import InputError
from bam_mm.figures.attention import build_attention_model, find_images, overlay, read_image
from bam_mm.models.saliency import attention_maps, saliency
from bam_mm.registry import MODELS
from tests.end_to_end.running import exit_code_of
from tests.reference.slow_saliency import tokens_of_mmpretrain

ROOT = Path(__file__).resolve().parents[2]
HEADS = 3


@pytest.fixture
def vit():
    torch.manual_seed(0)
    backbone = MODELS.build(
        dict(
            type="mmpretrain.VisionTransformer", img_size=24, patch_size=8, out_type="raw",
            arch=dict(embed_dims=12, num_layers=2, num_heads=HEADS, feedforward_channels=24),
        )
    )  # fmt: skip
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    backbone.eval()
    return backbone


def test_each_head_has_its_own_softmax(vit):
    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    maps = attention_maps(vit, images)
    assert maps.shape == (2, HEADS, 3, 3)
    qkv = vit.layers[-1].attn.qkv
    weight, bias = (x.detach().double().numpy() for x in (qkv.weight, qkv.bias))
    for image, found in zip(images, maps, strict=True):
        tokens = tokens_of_mmpretrain(vit, image)[0].double().numpy()
        query, key = (
            (tokens @ weight[p * 12 : p * 12 + 12].T + bias[p * 12 : p * 12 + 12]) for p in (0, 1)
        )
        for head in range(HEADS):
            part = slice(4 * head, 4 * head + 4)
            powers = np.exp(key[:, part] @ query[0, part] / 2)
            expected = (powers / powers.sum())[1:].reshape(3, 3)
            np.testing.assert_allclose(found[head].numpy(), expected, atol=1e-5)
    torch.testing.assert_close(saliency(vit, images), maps.sum(dim=1))


def test_images_keep_their_shape_and_fit_the_patches(tmp_path):
    Image.fromarray(np.full((50, 101, 3), (10, 20, 200), np.uint8)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", short_side=48, multiple=8)
    assert image.shape == (48, 96, 3) and tuple(image[0, 0]) == (10, 20, 200)
    with pytest.raises(InputError, match="--size 7: the backbone's patches are 8 pixels"):
        read_image(tmp_path / "a.png", short_side=7, multiple=8)
    assert find_images([tmp_path]) == [tmp_path / "a.png"]
    with pytest.raises(InputError, match="none does not exist"):
        find_images([tmp_path / "none"])


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (1000, 40)])
def test_images_that_are_too_elongated(size, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).save(path)
    with pytest.raises(InputError, match=rf"a\.png has {size[0]} x {size[1]} pixels.*20 times"):
        read_image(path, short_side=48, multiple=8)


def test_folders_stand_for_the_images_directly_in_them(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr("bam_mm.figures.attention.print_log", lambda text, **_: logged.append(text))
    for name in ("b.GIF", "a.tiff", "._a.png", ".cache/c.png", "sub/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_images([tmp_path]) == [tmp_path / "a.tiff", tmp_path / "b.GIF"]
    assert logged == [f"{tmp_path}: 2 images; left out: 1 subfolder, 2 hidden, 1 .txt"]
    with pytest.raises(InputError, match=r"a\.tiff is empty \(0 bytes\): replace the file"):
        read_image(tmp_path / "a.tiff", short_side=48, multiple=8)


def test_the_brightest_patch_is_where_the_map_is_highest():
    heat = np.zeros((2, 3), np.float32)
    heat[1, 2] = 0.01
    drawn = overlay(np.full((16, 24, 3), 90, np.uint8), heat)
    bright = drawn.sum(axis=2) > drawn.sum(axis=2).min()
    assert bright[8:, 16:].all() and not bright[:8].any() and not bright[:, :16].any()
    # A constant map highlights nothing.
    assert np.unique(overlay(np.full((8, 8, 3), 90, np.uint8), np.ones((2, 2))).sum(2)).size == 1


def test_a_convolutional_network_has_saliency():
    model = build_attention_model("random:resnet18-w16")
    heat = model.attention(np.zeros((64, 96, 3), np.uint8))
    assert not model.heads and heat.shape[0] == 1 and heat.min() == 0


def test_the_tool_writes_one_picture_per_image(tmp_path, capsys):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / folder / "photo.png")
    arguments = [tmp_path / "one", tmp_path / "two/photo.png", "--model", "random:vit-toy-p8"]
    arguments += ["--out", tmp_path / "out", "--size", "48"]
    assert exit_code_of("visualize_attention.py", *arguments) == 0
    written = [tmp_path / "out/photo.png", tmp_path / "out/photo_2.png"]
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    with Image.open(written[0]) as picture:
        # One row with the image, the mean and four heads.
        assert picture.width > 4 * picture.height


def test_images_of_a_backbone_that_takes_one_size(tmp_path):
    draws = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    Image.fromarray(draws).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", short_side=480, multiple=32, fixed=(40, 40))
    assert np.array_equal(image, draws[:, 25:65])  # The centre
    larger = read_image(tmp_path / "a.png", short_side=480, multiple=32, fixed=(48, 64))
    assert larger.shape == (48, 64, 3)
