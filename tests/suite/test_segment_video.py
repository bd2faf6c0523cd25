"""One command from a video and a mask to masks of all frames and a video of them."""

import copy

import cv2
import numpy as np
import pytest
from PIL import Image

from bam_mm import InputError
from bam_mm.checkpoint.sources import BackboneSource
from bam_mm.data.davis import DAVISDataset
from bam_mm.data.indexed_png import voc_palette
from bam_mm.data.toy.davis import clips, write_clip
from bam_mm.suite.models import Model
from bam_mm.suite.segment_video import build_propagation, segment_video
from tests.models.families import FAMILIES

pytestmark = pytest.mark.slow

SMALL = {"model.short_side": 48, "model.divisor": 8}
MODEL = "random:vit-toy-p8"
FRAMES = 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A toy video in DAVIS's layout, and the folders of its frames and masks."""
    root = tmp_path_factory.mktemp("clip")
    [drawn] = clips("val", 1, seed=3)
    write_clip(root, "v", drawn, frames=FRAMES)
    return root, root / "JPEGImages/480p/v", root / "Annotations/480p/v"


def masks_in(folder):
    images = [Image.open(path) for path in sorted(folder.iterdir())]
    assert {image.mode for image in images} == {"P"}
    assert all(image.getpalette() == voc_palette() for image in images)
    return np.stack([np.asarray(image) for image in images])


def test_the_masks_are_those_of_the_protocol(clip, tmp_path):
    root, frames, masks = clip
    found = segment_video(frames, masks / "00000.png", tmp_path, model=MODEL, options=SMALL)
    network, used = build_propagation(MODEL, None, SMALL)
    [video] = DAVISDataset(str(root), annotated="first").videos
    [wanted] = network.predict(video)["predictions"].values()
    assert np.array_equal(masks_in(found.masks), wanted) and used.is_imagenet
    assert len(np.unique(wanted)) > 2 and not np.array_equal(wanted[0], wanted[-1])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["masks", "overlay.mp4"]


@pytest.mark.parametrize("name", ["timm-convnext", "timm-swin", "mmpretrain-convnext"])
def test_pyramids_without_batch_norm_use_the_config_for_cnns(name, clip, tmp_path, monkeypatch):
    [family] = [family for family in FAMILIES if family.name == name]
    source = BackboneSource("random:small", "random", copy.deepcopy(family.config), None)
    monkeypatch.setattr(
        "bam_mm.suite.segment_video.read_models", lambda *_, **__: [Model("m", "m", source, "")]
    )
    _, frames, masks = clip
    options = {"model.short_side": 64, "model.divisor": 32}
    found = segment_video(frames, masks / "00000.png", tmp_path, model="m", options=options)
    followed = masks_in(found.masks)
    assert np.array_equal(followed[0], np.asarray(Image.open(masks / "00000.png")))
    assert len(np.unique(followed[-1])) > 1


def test_a_video_file_with_a_mask_of_a_later_frame(clip, tmp_path):
    _, frames, masks = clip
    pictures = [cv2.imread(str(path)) for path in sorted(frames.iterdir())]
    height, width = pictures[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), code, 8, (width, height))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    options = dict(model=MODEL, options=SMALL, frame=2)
    mask = masks / "00002.png"
    found = segment_video(tmp_path / "film.avi", mask, tmp_path / "out", **options)
    both = masks_in(found.masks)
    assert both.shape == (FRAMES, height, width)
    assert np.array_equal(both[2], np.asarray(Image.open(mask)))
    # The part before the mask is the reversed video from there on.
    capture = cv2.VideoCapture(str(tmp_path / "film.avi"))
    decoded = [capture.read()[1] for _ in pictures]
    for name, chosen in (("after", decoded[2:]), ("before", decoded[2::-1])):
        (tmp_path / name).mkdir()
        for number, picture in enumerate(chosen):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), picture)
        options["frame"] = 0
        part = segment_video(tmp_path / name, mask, tmp_path / f"{name}-out", **options)
        expected = both[2:] if name == "after" else both[2::-1]
        assert np.array_equal(masks_in(part.masks), expected)
    shown = cv2.VideoCapture(str(found.overlay))
    assert shown.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES and shown.get(cv2.CAP_PROP_FPS) == 8
    picture = [shown.read()[1] for _ in pictures][2]
    assert picture.shape == decoded[2].shape
    # Objects take half of their colour, and the background stays as it is.
    change = np.abs(picture.astype(float) - decoded[2]).mean(axis=2)
    assert change[both[2] > 0].mean() > 3 * change[both[2] == 0].mean()


def test_a_config_of_another_task_and_a_network_without_maps(clip, tmp_path):
    _, frames, masks = clip
    mask = masks / "00000.png"
    with pytest.raises(InputError, match=r"--config cls/.* follows no objects: use one of configs"):
        segment_video(frames, mask, tmp_path, model=MODEL, config="cls/vit-toy-p8_knn_toy")
    with pytest.raises(InputError, match=r"no model 'vit-toy-p9'"):
        segment_video(frames, mask, tmp_path, model="random:vit-toy-p9")
    assert not list(tmp_path.iterdir())
