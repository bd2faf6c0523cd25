"""Figures of views and similarities show the input of the model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bam_mm import InputError
from bam_mm.data.toy import make_world
from bam_mm.figures.similarities import measure_similarities
from bam_mm.figures.views import TrainingViews
from bam_mm.launch.config import load_config
from bam_mm.registry import MODELS
from tests.end_to_end.running import exit_code_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"
OFF = dict(jitter_prob=0.0, gray_prob=0.0, blur_prob=0.0, solarize_prob=0.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.01)  # 40 training images
    return out / "images"


def views_of(config, world, *, boxes=None, seed=0, **options):
    options = {"data_root": str(world), **options}
    return TrainingViews(load_config(config, options), seed=seed, boxes=boxes)


@pytest.mark.parametrize("place", ["worker", "device"])
def test_without_photometric_augmentation_a_view_is_its_crop(world, place):
    views = views_of(
        TOY,
        world,
        photometric=[OFF] * 4,
        photometric_place=place,
        **{"layout.num_local": 2, "layout.local_size": 16},
    )
    images = list(views.images([0, 7, 31]))
    flips = [flip for image in images for flip in image.flips]
    assert {True, False} == set(flips)
    for image in images:
        assert image.box is None and image.original.shape == (64, 64, 3)
        np.testing.assert_array_equal(image.original, np.asarray(Image.open(image.path)))
        assert [view.shape[0] for view in image.views] == [48, 48, 16, 16]
        for view, crop, flip in zip(image.views, image.crops, image.flips, strict=True):
            top, left, bottom, right = crop
            part = Image.fromarray(image.original[top:bottom, left:right])
            expected = np.asarray(part.resize(view.shape[:2], Image.Resampling.BICUBIC))
            assert abs(view - (expected[:, ::-1] if flip else expected).astype(int)).max() <= 1


def test_both_places_augment_what_is_shown(world):
    for place in ("worker", "device"):
        strong = [dict(OFF, solarize_prob=1.0)] * 2
        views = views_of(TOY, world, photometric=strong, photometric_place=place)
        image = next(iter(views.images([3])))
        assert max(view.max() for view in image.views) <= 128
        assert image.original.max() > 170


def test_the_same_seed_draws_the_same_views(world):
    def run(seed):
        views = views_of(TOY, world, seed=seed)
        return list(views.images(views.choose(3, seed=seed)))

    for one, two in zip(run(1), run(1), strict=True):
        assert one.crops == two.crops and one.path == two.path
        for a, b in zip(one.views, two.views, strict=True):
            np.testing.assert_array_equal(a, b)
    assert [i.crops for i in run(1)] != [i.crops for i in run(2)]


def test_boxes_of_a_checkpoint_are_shown_and_used(world, tmp_path):
    boxes = torch.tensor([[0.5, 0.25, 0.75, 1.0]]).repeat(40, 1)
    torch.save({"boxes": boxes, "state_dict": {}}, tmp_path / "with.pth")
    views = views_of(TOY, world, boxes=tmp_path / "with.pth")
    centres = []
    for image in views.images(range(12)):
        assert image.box == (32, 16, 48, 64)
        centres += [((t + b) / 2, (le + r) / 2) for t, le, b, r in image.crops]
    # Large crops are pushed back into the image, so they leave the box towards its middle only.
    assert all(31 <= y <= 49 for y, _ in centres) and np.std([x for _, x in centres]) > 2
    torch.save({"state_dict": {}}, tmp_path / "without.pth")
    with pytest.raises(InputError, match=r"holds no boxes.*leave --boxes out"):
        views_of(TOY, world, boxes=tmp_path / "without.pth")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("bam_resnet18-w16_1xb128-coslr-8e_cifar10.py", {32}),
        ("bam_vit-small-p16_16xb256-amp-coslr-300e_in1k.py", {224, 96}),
    ],
)
def test_other_pretraining_configs(world, name, sizes):
    views = views_of(ROOT / "configs/pretrain" / name, world)
    image = next(iter(views.images([0])))
    assert {view.shape[0] for view in image.views} == sizes
    assert len(image.crops) == views.layout.num_views


def test_what_cannot_be_shown(world):
    with pytest.raises(InputError, match="--num 41: the training set has 40 images"):
        views_of(TOY, world).choose(41)
    with pytest.raises(InputError, match="does not train with views"):
        TrainingViews(load_config(ROOT / "configs/vos/vit-toy-p8_label-propagation_toy.py"))
    loose = world / "train" / "plain_disk"
    with pytest.raises(InputError, match="have no labels"):
        measure_similarities(load_config(TOY, {"data_root": str(loose)}), "none.pth", count=2)


def test_similarities_match_the_checkpoint(world, tmp_path):
    config = load_config(TOY, {"data_root": str(world)})
    TrainingViews(config)  # sets the scope that builds the model
    torch.manual_seed(5)
    model = MODELS.build(config.model)
    model.init_weights()
    path = tmp_path / "bam.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    kinds = ("positive", "same_class", "other")
    # Built from seed 5 and saved untrained, so it equals the random weights of seed 5.
    start, same = measure_similarities(config, path, count=20, seed=5).values()
    assert all(torch.equal(getattr(start, kind), getattr(same, kind)) for kind in kinds)
    assert start.positive.sum() == 20
    assert sum(int(getattr(start, kind).sum()) for kind in kinds) == 400
    before, after = measure_similarities(config, path, count=20, seed=6).values()
    assert not torch.equal(before.other, after.other)
    backbone = measure_similarities(config, path, count=20, seed=6, feature="backbone")
    assert not torch.equal(backbone["BAM teacher"].other, after.other)


def test_the_tools_write_pictures(world, tmp_path, capsys):
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    data = ["--cfg-options", f"data_root={world}"]
    assert exit_code_of("browse_views.py", TOY, "--num", 2, "--out", small, *data) == 0
    more = ["layout.num_local=2", "layout.local_size=24", "photometric=None"]
    assert exit_code_of("browse_views.py", TOY, "--num", 3, "--out", large, *data, *more) == 0
    with Image.open(small) as a, Image.open(large) as b:
        assert b.width > 1.5 * a.width and b.height > 1.3 * a.height
        colours = {tuple(c) for c in np.asarray(b.convert("RGB")).reshape(-1, 3)}
    # The frames of the four views, on the original and around each view.
    assert {(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40)} <= colours
    assert exit_code_of("browse_views.py", TOY, "--num", 99, *data) == 1
    assert "--num 99" in capsys.readouterr().err

    config = load_config(TOY, {"data_root": str(world)})
    torch.save({"state_dict": MODELS.build(config.model).state_dict()}, tmp_path / "bam.pth")
    out = tmp_path / "similarities.png"
    pair = ["--similarities", TOY, tmp_path / "bam.pth", "--num", 30, "--out", out]
    assert exit_code_of("plot_pretraining.py", *pair, *data) == 0
    with Image.open(out) as picture:
        assert picture.width > 800
    assert exit_code_of("plot_pretraining.py", "--out", out) == 2
