"""The check at the start of a run: images and annotation of a sample of the data."""

import json

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.dataset import ConcatDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from torch import nn

from bam_mm import InputError
from bam_mm.data.checks import annotated_pixels, zero_label
from bam_mm.data.checks.dense_labels import check_dense_data
from bam_mm.data.checks.sampled_maps import evenly_spaced
from bam_mm.data.orientation import is_published
from tests.data.annotated import encoded, palette, photograph, png

IDS = np.array([[1, 2, 3, 1]] * 6, np.uint8).repeat(2, axis=1)
GREY = encoded(IDS)
PHOTO = photograph()
MODEL = nn.Identity()
READ_IMAGE = dict(type="mmcv.LoadImageFromFile")
READ_MAP = dict(type="mmseg.LoadAnnotations")


def ours(orientation="auto"):
    match = dict(type="bam_mm.MatchAnnotation", orientation=orientation)
    return [READ_IMAGE, match, dict(type="bam_mm.LoadSemanticMap", num_classes=3)]


def maps(folder, data=GREY, *, steps=None, reduced=True, number=4, image=PHOTO, **more):
    """Make a data set of equal maps; ``more`` holds other ones by their number, as ``_2``."""
    for kind in ("images", "maps"):
        (folder / kind).mkdir(exist_ok=True)
    for index in range(number):
        (folder / f"images/{index:03d}.jpg").write_bytes(image)
        (folder / f"maps/{index:03d}.png").write_bytes(more.get(f"_{index}", data))
    init_default_scope("mmseg")
    return BaseSegDataset(
        data_root=str(folder),
        data_prefix=dict(img_path="images", seg_map_path="maps"),
        metainfo=dict(classes=("a", "b", "c"), palette=[[0, 0, 0]] * 3),
        reduce_zero_label=reduced,
        pipeline=ours() if steps is None else steps,
    )


def instances(
    folder, sizes, *, orientation=1, steps=None, size=(6, 8), file="i.json", name="{:03d}.jpg"
):
    """Make a data set of an image for each (height, width) of ``sizes`` in its file."""
    (folder / "images").mkdir(exist_ok=True)
    entries, boxes = [], []
    for index, (height, width) in enumerate(sizes):
        path = folder / "images" / name.format(index)
        path.write_bytes(photograph(size, orientation))
        entries.append(dict(id=index, file_name=path.name, height=height, width=width))
        boxes.append(dict(id=index + 1, image_id=index, category_id=1, iscrowd=0, area=4,
                          bbox=[1, 1, 2, 2], segmentation=[[1, 1, 3, 1, 3, 3, 1, 3]]))  # fmt: skip
    content = dict(images=entries, annotations=boxes, categories=[dict(id=1, name="a")])
    (folder / file).write_text(json.dumps(content))
    init_default_scope("mmdet")
    return CocoDataset(
        data_root=str(folder),
        ann_file=file,
        data_prefix=dict(img="images"),
        metainfo=dict(classes=("a",)),
        pipeline=[READ_IMAGE, dict(type="bam_mm.MatchAnnotation")] if steps is None else steps,
    )


@pytest.fixture
def logged(monkeypatch):
    """Messages that the checks log."""
    found = []
    for module in (annotated_pixels, zero_label):
        monkeypatch.setattr(module, "print_log", lambda text, **_: found.append(text))
    return found


@pytest.mark.parametrize("steps", [None, [READ_IMAGE, READ_MAP]])
def test_data_that_fit_pass(steps, tmp_path, logged):
    check_dense_data(MODEL, maps(tmp_path, steps=steps), "train")
    check_dense_data(MODEL, maps(tmp_path, encoded(palette(IDS)), steps=steps), "train")
    check_dense_data(MODEL, instances(tmp_path, [(6, 8)] * 3), "train")
    check_dense_data(MODEL, instances(tmp_path, [(6, 8)], steps=[READ_IMAGE]), "train")
    assert not logged


UNFIT = {
    "half": (encoded(IDS[:3, :4]), r"000\.jpg has 8x6 px, but its map .*000\.png is for 4x3 px: "),
    "double": (encoded(IDS.repeat(2, 0).repeat(2, 1)), "has 8x6 px, but its map .* for 16x12 px: "),
    "swapped": (encoded(IDS.T.copy()), r"is for 6x8 px \(the sides are swapped\)"),
    "one column less": (encoded(IDS[:, :7]), "is for 7x6 px"),
    "beyond": (encoded(IDS + 1), "has label 4 in 12 pixels, the head knows 1 to 3"),
    "16 bits": (png(IDS.astype(np.uint16) + 260, 16), "has label 263 in 48 pixels"),
    "colours": (encoded(palette(IDS).convert("RGB")), "holds colours"),
    "jpeg": (encoded(IDS, "JPEG"), "is a JPEG file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    "empty": (b"", r"000\.png is empty"),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("steps", [None, [READ_IMAGE, READ_MAP]], ids=["ours", "mmseg's"])
def test_maps_that_do_not_fit(steps, kind, tmp_path):
    data, message = UNFIT[kind]
    with pytest.raises(InputError, match=rf"^4 of 4 checked val .* faulty, the first: .*{message}"):
        check_dense_data(MODEL, maps(tmp_path, data, steps=steps), "val")


@pytest.mark.parametrize(
    "data, reduced, message",
    [
        (encoded((IDS > 1) * np.uint8(255)), True,
         r"the 4 checked train maps hold only 0 and 255, .*: save ids of classes, 1 and 2"),
        (encoded((IDS > 1) * np.uint8(255)), False, "hold only 0 and 255, .* 0 and 1 instead"),
        (encoded(IDS * 0 + 255), True, "all pixels of the 4 checked train maps are 255, which ma"),
        (encoded(IDS * 0 + 255), False, "all pixels of the 4 checked train maps are 255, which"),
        (encoded(IDS * 0), True, "4 checked train maps are 0, which reduce_zero_label=True ig"),
    ],
)  # fmt: skip
def test_maps_without_a_labelled_pixel(data, reduced, message, tmp_path):
    with pytest.raises(InputError, match=message):
        check_dense_data(MODEL, maps(tmp_path, data, reduced=reduced), "train")


def test_rare_objects_are_searched_for(tmp_path):
    """None of the sampled maps has a labelled pixel, but one of the others has."""
    assert 24 not in evenly_spaced(50, 16)
    empty = encoded(IDS * 0)
    check_dense_data(MODEL, maps(tmp_path, empty, number=50, _24=encoded(IDS)), "train")
    # Without reduce_zero_label, 0 is a class.
    check_dense_data(MODEL, maps(tmp_path, empty, reduced=False), "train")


def test_unlabelled_pixels_are_reported(tmp_path, logged):
    check_dense_data(MODEL, maps(tmp_path, encoded(IDS - 1)), "val")
    [message] = logged
    assert message.startswith("50.0% of the pixels of 4 checked val maps are 0, and none is 3")
    assert "reduce_zero_label=True ignores them; set it to False if 0 is a class" in message


def test_training_maps_that_count_from_zero_stop(tmp_path):
    with pytest.raises(InputError, match=r"count their 3 classes from 0: 50\.0% of the pixels"):
        check_dense_data(MODEL, maps(tmp_path, encoded(IDS - 1)), "train")


@pytest.mark.parametrize(
    "data", [encoded(np.dstack([IDS] * 3)), png(IDS % 4, 4)], ids=["channels", "4 bits"]
)
def test_maps_that_only_our_transform_reads(data, tmp_path):
    check_dense_data(MODEL, maps(tmp_path, data), "train")
    with pytest.raises(InputError, match=r"LoadAnnotations .*put dict\(type='bam_mm.LoadSemanticM"):
        check_dense_data(MODEL, maps(tmp_path, data, steps=[READ_IMAGE, READ_MAP]), "train")


def test_faults_are_counted_and_parts_of_a_concatenation_checked(tmp_path):
    data = maps(tmp_path, _2=encoded(IDS + 1))
    with pytest.raises(InputError, match=r"^1 of 4 checked train maps .*002\.png has label 4"):
        check_dense_data(MODEL, ConcatDataset([data]), "train")


@pytest.mark.parametrize("orientation", ["stored", "upright"])
def test_half_turns_need_the_option(orientation, tmp_path, logged):
    message = "^4 of 4 checked train images .*Exif orientation 3, .*orientation=stored or orientati"
    with pytest.raises(InputError, match=message):
        check_dense_data(MODEL, maps(tmp_path, image=photograph(orientation=3)), "train")
    with pytest.raises(InputError, match=r"^2 of 2 checked val images .*Exif orientation 2"):
        check_dense_data(MODEL, instances(tmp_path, [(6, 8)] * 2, orientation=2), "val")
    data = maps(tmp_path, image=photograph(orientation=3), steps=ours(orientation))
    check_dense_data(MODEL, data, "train")
    told = "4 of 4 checked train images are read as stored"
    assert [m[: len(told)] for m in logged] == ([told] if orientation == "stored" else [])


def test_quarter_turns_are_read_by_their_size(tmp_path, logged):
    check_dense_data(MODEL, maps(tmp_path, image=photograph(orientation=6)), "train")
    check_dense_data(MODEL, instances(tmp_path, [(6, 8), (8, 6)], orientation=8), "train")
    assert [message.split(" images")[0] for message in logged] == [
        "4 of 4 checked train", "1 of 2 checked train",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"^1 of 3 checked train images .* is for 4x3 px"):
        data = instances(tmp_path, [(6, 8), (3, 4), (8, 6)], orientation=8)
        check_dense_data(MODEL, data, "train")


IGNORING = dict(READ_IMAGE, color_type="color_ignore_orientation")


def test_pipelines_without_our_transforms(tmp_path):
    for sizes, orientation, loader, message in (
        (
            [(6, 8)],
            6,
            READ_IMAGE,
            "belongs to its stored pixels, but .* loads the upright .*Match",
        ),
        ([(8, 6)], 6, IGNORING, "belongs to its upright pixels, but .* loads the stored"),
        ([(6, 8)], 3, READ_IMAGE, "does not tell .*MatchAnnotation.* with orientation='stored' or"),
        ([(3, 4)], 1, READ_IMAGE, "has 8x6 px, but its entry .* is for 4x3 px"),
    ):
        data = instances(tmp_path, sizes, orientation=orientation, steps=[loader])
        with pytest.raises(InputError, match=message):
            check_dense_data(MODEL, data, "train")
    for sizes, orientation, loader in (([(8, 6)], 6, READ_IMAGE), ([(6, 8)], 6, IGNORING),
                                       ([(6, 8)], 3, IGNORING)):  # fmt: skip
        data = instances(tmp_path, sizes, orientation=orientation, steps=[loader])
        check_dense_data(MODEL, data, "train")


@pytest.mark.parametrize("file", ["instances_val2017.json", "instances_train2017_1percent.json"])
def test_published_data_stay_upright(file, tmp_path):
    """Every published number on COCO is one of upright pixels, also on a part of it."""
    published = dict(orientation=3, file=file, name="{:012d}.jpg")
    data = instances(tmp_path, [(6, 8)] * 2, **published)
    check_dense_data(MODEL, data, "train")
    assert data.pipeline.transforms[1].orientation == "upright"
    for own in (dict(file="mine.json"), dict(name="photo{}.jpg")):
        with pytest.raises(InputError, match="Exif orientation 3"):
            check_dense_data(MODEL, instances(tmp_path, [(6, 8)] * 3, **published | own), "train")


@pytest.mark.parametrize(
    "image, annotations, published",
    [
        ("images/training/ADE_train_00000001.jpg", "", True),
        ("ADE_val_00002000.jpg", "lists/few.txt", True),
        ("ADE_val_mine.jpg", "", False),
        ("train2017/000000000009.jpg", "a/instances_train2017.json", True),
        ("000000000009.jpg", "", False),
        ("2024.jpg", "instances_train2017.json", False),
    ],
)
def test_names_of_published_data(image, annotations, published):
    assert is_published(image, annotations) is published


def test_an_image_that_cannot_be_read(tmp_path):
    data = instances(tmp_path, [(6, 8)] * 2)
    (tmp_path / "images/001.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"1 of 2 checked train images .*001\.jpg is empty"):
        check_dense_data(MODEL, data, "train")
