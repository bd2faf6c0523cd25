"""Features of image files equal those of the kNN task, and wrong arguments are one message."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bam_mm import InputError
from bam_mm.checkpoint.sources import ARCHITECTURES
from bam_mm.data.toy import make_world
from bam_mm.protocols.feature_cache import read_features
from bam_mm.suite.image_features import image_features, write_features
from tests.end_to_end.own_project import save_pretrained
from tests.protocols.feature_runs import evaluate

pytestmark = pytest.mark.slow

TOY = "cls/vit-toy-p8_knn_toy"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder / "toy", scale=0.004, only=["images"])
    backbone = dict(ARCHITECTURES["vit-toy-p8"], type="MoCoV3ViT")
    save_pretrained(backbone, folder / "bam.pth")
    # Neither square nor of the size of the others.
    [first, *_] = sorted((folder / "toy/images/val").rglob("*.jpg"))
    Image.open(first).resize((90, 70)).save(first)
    return folder


@pytest.fixture(scope="module")
def of_the_task(world):
    evaluate("knn", world / "toy/images", world / "run", checkpoint=world / "bam.pth")
    for path in (world / "run/cache").glob("*.json"):
        about = json.loads(path.read_text())
        if about["what"] == "knn test":
            return read_features(path.with_suffix(".safetensors"), rows=about["rows"]).features


@pytest.mark.parametrize("workers", [0, 1])
def test_they_are_those_of_the_knn_task(world, of_the_task, workers):
    images = world / "toy/images/val"
    found = image_features(
        images, f"bam:{world}/bam.pth", config=TOY, batch_size=7, workers=workers
    )
    assert found.names == sorted(map(str, images.rglob("*.jpg"))) and len(found.names) == 18
    np.testing.assert_allclose(found.features, of_the_task.numpy(), atol=1e-6)
    assert found.kind == "cls" and found.features.std(axis=0).min() > 1e-3


def test_the_size_is_that_of_the_pretraining_unless_another_is_set(world, of_the_task):
    images, model = world / "toy/images/val/", f"bam:{world}/bam.pth"
    own = image_features(images, model)
    assert (own.preprocessing.geometry.short_side, own.preprocessing.geometry.size) == (54, 48)
    assert own.preprocessing.geometry_source == "img_size of the backbone"
    np.testing.assert_allclose(own.features, of_the_task.numpy(), atol=1e-6)
    larger = image_features(own.names[:2], model, size=64)
    assert larger.preprocessing.geometry.size == 64
    assert np.abs(larger.features - own.features[:2]).max() > 1e-2


def test_branch_and_feature_are_chosen(world):
    images = sorted((world / "toy/images/val").rglob("*.jpg"))[:2]
    teacher = image_features(images, f"bam:{world}/bam.pth", feature="cls+mean")
    student = image_features(images, f"bam:{world}/bam.pth@student", feature="cls+mean")
    assert teacher.features.shape == (2, 192) and teacher.kind == "cls+mean"
    assert np.abs(teacher.features - student.features).max() > 1e-2
    mean = image_features(images, f"bam:{world}/bam.pth", feature="mean").features
    np.testing.assert_allclose(teacher.features[:, 96:], mean, atol=1e-6)


def test_the_file_holds_names_and_features(world, tmp_path):
    images = sorted((world / "toy/images/val").rglob("*.jpg"))[:3]
    found = image_features(images, f"bam:{world}/bam.pth")
    assert write_features(tmp_path / "new/f", found) == tmp_path / "new/f.npz"
    with np.load(tmp_path / "new/f.npz") as file:
        assert file["names"].tolist() == found.names
        assert np.array_equal(file["features"], found.features)
        assert file["features"].dtype == np.float32 and "centre crop 48 px" in str(
            file["preprocessing"]
        )
    with pytest.raises(InputError, match=r"f\.npy: .*not \.npy; write .*/f\.npz and read"):
        write_features(tmp_path / "f.npy", found)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_wrong_arguments_are_named(world, tmp_path):
    model, images = f"bam:{world}/bam.pth", sorted((world / "toy/images/val").rglob("*.jpg"))[:1]
    with pytest.raises(InputError, match="nowhere does not exist: pass images"):
        image_features("nowhere", model)
    with pytest.raises(InputError, match=r"no image in .*: pass images with one of the endings"):
        image_features(tmp_path, model)
    with pytest.raises(InputError, match=r"its model is ImageClassifier, not bam_mm\.Frozen"):
        image_features(images, model, config="cls/vit-toy-p8_1xb64-coslr-4e_toy")
    with pytest.raises(InputError, match=r"feature 'cls': .*has no \[CLS\] token; use 'mean'"):
        image_features(images, "random:resnet18-w16", feature="cls", size=32)
    for network, least in (("random:resnet18-w16", 8), (model, 8), ("random:timm:test_vit", 16)):
        with pytest.raises(InputError, match=f"size=1: .*; set a size of at least {least}$"):
            image_features(images, network, size=1)
        assert len(image_features(images, network, size=least).features) == 1
    with pytest.raises(InputError, match="device 'cuda:99' cannot be used"):
        image_features(images, model, device="cuda:99")
    with pytest.raises(InputError, match="batch_size=0: set a number of at least 1"):
        image_features(images, model, batch_size=0)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(images[0].read_bytes()[:300])
    with pytest.raises(InputError, match=r"broken\.jpg is truncated"):
        image_features([*images, broken], model)
    state = torch.load(world / "bam.pth", weights_only=True)
    state["state_dict"]["teacher.backbone.pos_embed"] *= float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(InputError, match="pos_embed"):
        image_features(images, f"bam:{tmp_path}/nan.pth")
