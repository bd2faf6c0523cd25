"""Annotations of videos as other tools write them: read as meant, or left out with a message."""

import cv2
import numpy as np
import pytest
from PIL import Image

from bam_mm import DAVISDataset
from bam_mm.data.indexed_png import voc_palette, write_indexed
from bam_mm.data.object_ids import first_ids, next_ids
from bam_mm.data.video import FaultyVideo
from tests.data.annotated import bitmap
from tests.data.video_tree import SIZE, masks, read_indexed, truth_of_boxes, write_tree


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "davis")


def save_p(path, ids, palette, **options):
    image = Image.fromarray(ids.astype(np.uint8), mode="P")
    image.putpalette(palette)
    image.save(path, format="PNG", **options)


def each_mask(change):
    """Return a function that rewrites every annotation of video a from its path and ids."""

    def rewrite(root):
        for t, path in enumerate(masks(root)):
            change(path, read_indexed(path)[0], t)

    return rewrite


def sort_palette_anew(path, ids, t):
    """Reverse the order of the used colours, which changes from frame to frame."""
    used = np.unique(ids)[:: -1 if t % 2 else 1]
    used = np.roll(used, t)
    table, palette = np.zeros(256, np.uint8), np.zeros((256, 3), np.uint8)
    colours = np.array(voc_palette(), np.uint8).reshape(-1, 3)
    palette[:] = colours[255]
    for index, number in enumerate(used):
        table[number], palette[index] = index, colours[number]
    save_p(path, table[ids], palette.ravel().tolist())


def grey(path, ids, t):
    Image.fromarray(ids).save(path)


def as_rgb(path, ids, t):
    colours = np.array(voc_palette(), np.uint8).reshape(-1, 3)
    Image.fromarray(colours[ids]).save(path)


def as_davis_rgb(path, ids, t):
    """DAVIS writes 191 where PASCAL VOC writes 192, as in the colour of id 9."""
    colours = np.array(voc_palette(), np.uint8).reshape(-1, 3)
    colours[colours == 192] = 191
    Image.fromarray(colours[ids]).save(path)


SAME_IDS = {
    "ids as grey levels": grey,
    "ids as grey levels in all channels": lambda p, i, t: Image.fromarray(
        np.stack([i] * 3, -1)
    ).save(p),
    "ids in RGBA, opaque": lambda p, i, t: Image.fromarray(
        np.dstack([i, i, i, np.full_like(i, 255)])
    ).save(p),
    "ids with an opaque alpha": lambda p, i, t: Image.fromarray(
        np.dstack([i, np.full_like(i, 255)])
    ).save(p),
    "ids in 16 bits": lambda p, i, t: Image.fromarray(i.astype(np.uint16)).save(p),
    "colours of the palette": as_rgb,
    "a palette with a transparent background": lambda p, i, t: save_p(
        p, i, voc_palette(), transparency=0
    ),
    "a palette of the used colours only": lambda p, i, t: save_p(
        p, i, voc_palette()[:12], optimize=True
    ),
    "a palette of greys": lambda p, i, t: save_p(p, i, np.repeat(np.arange(256), 3).tolist()),
    "colours of DAVIS's own palette": as_davis_rgb,
    "a palette of black alone": lambda p, i, t: save_p(p, i, [0] * 768),
    "palettes in another order in each frame": sort_palette_anew,
}


@pytest.mark.parametrize("kind", SAME_IDS)
def test_ids_are_read_however_they_are_stored(tree, kind):
    each_mask(SAME_IDS[kind])(tree)
    video = DAVISDataset(str(tree), sequences=["a"])[0]["video"]
    np.testing.assert_array_equal(video.truth(), truth_of_boxes())


ONE_OBJECT = {
    "255 as a grey level": lambda p, i, t: Image.fromarray((i > 0).astype(np.uint8) * 255).save(p),
    "255 as an index": lambda p, i, t: save_p(p, (i > 0) * 255, voc_palette()),
    "white in RGB": lambda p, i, t: Image.fromarray(
        np.stack([(i > 0).astype(np.uint8) * 255] * 3, -1)
    ).save(p),
    "white in 16 bits": lambda p, i, t: Image.fromarray((i > 0).astype(np.uint16) * 65535).save(p),
    "one bit": lambda p, i, t: Image.fromarray(i > 0).save(p),
    "1 as a grey level": lambda p, i, t: Image.fromarray((i > 0).astype(np.uint8)).save(p),
}


@pytest.mark.parametrize("kind", ONE_OBJECT)
def test_a_single_object_becomes_id_1(tree, kind):
    each_mask(ONE_OBJECT[kind])(tree)
    video = DAVISDataset(str(tree), sequences=["a"])[0]["video"]
    np.testing.assert_array_equal(video.truth(), truth_of_boxes() > 0)


def test_ids_may_have_gaps_and_255_is_void(tree):
    def gaps_and_border(path, ids, t):
        ids = np.array([0, 1, 5, 9], np.uint8)[ids]
        ids[:1] = 255
        write_indexed(path, ids)

    each_mask(gaps_and_border)(tree)
    truth = DAVISDataset(str(tree), sequences=["a"])[0]["video"].truth()
    expected = np.array([0, 1, 5, 9])[truth_of_boxes()]
    expected[:, :1] = 255
    np.testing.assert_array_equal(truth, expected)


def stray_pixel(path, ids, t):
    ids = (ids > 0) * 255
    ids[0, 0] = 1
    save_p(path, ids, voc_palette())


def blurred(path, ids, t):
    mask = np.zeros(SIZE, np.uint8)
    mask[2:14, 2:14] = 255
    Image.fromarray(cv2.GaussianBlur(mask, (5, 5), 0)).save(path)


def painted(path, ids, t):
    Image.fromarray(np.array([[9, 9, 9], [200, 10, 10], [1, 2, 3], [7, 7, 0]], np.uint8)[ids]).save(
        path
    )


def half_transparent(path, ids, t):
    Image.fromarray(np.dstack([ids, ids, ids, 128 * (ids > 0)]).astype(np.uint8)).save(path)


def as_jpeg(path, ids, t):
    Image.fromarray(ids).save(path, format="JPEG")


def mixed_later(path, ids, t):
    if t:
        Image.fromarray(ids * 40).save(path)
    else:
        Image.fromarray((ids > 0).astype(np.uint8) * 255).save(path)


def as_bitmap(path, ids, t):
    path.write_bytes(bitmap((ids > 0).astype(np.uint8)))


LEFT_OUT = {
    "a bitmap of black and white": (as_bitmap, ("only one bit would be read", "indexed PNG")),
    "a stray pixel beside an object of 255": (stray_pixel, ("255 (void)", "only 1", "clear")),
    "a blurred mask": (blurred, ("grey levels", "nearest-neighbour")),
    "colours of no known palette": (painted, ("4 of its 4 colours", "#010203", "indexed PNG")),
    "transparent pixels": (half_transparent, ("transparent", "indexed PNG")),
    "a JPEG": (as_jpeg, ("is a JPEG", "blurs")),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_pixels_that_are_not_ids_leave_the_video_out(tree, kind):
    change, words = LEFT_OUT[kind]
    each_mask(change)(tree)
    data = DAVISDataset(str(tree))
    assert [v.name for v in data.videos] == ["b"]
    message = data.metainfo["left_out"]["a"]
    for word in ("video a: annotation", "00000.png", *words):
        assert word in message, message


FILLED = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [255] * 759


@pytest.mark.parametrize("palette", [FILLED, FILLED[:9] + [0] * 759], ids=["white", "black"])
def test_void_that_first_appears_later_is_void(palette, tmp_path):
    """Palettes are filled up with one colour, which 255 has, and so has the first unused index."""
    ids = np.array([[0, 1, 2, 2]] * 4, np.uint8)
    later = np.where(np.arange(16).reshape(4, 4) == 0, np.uint8(255), ids)
    save_p(tmp_path / "0.png", ids, palette)
    _, rule = first_ids(tmp_path / "0.png")
    for colours in (palette, [*palette[:6], 0, 0, 255, *palette[9:]]):
        save_p(tmp_path / "1.png", later, colours)
        np.testing.assert_array_equal(next_ids(tmp_path / "1.png", rule), later)


def test_ids_of_all_colours_of_davis(tmp_path):
    numbers = np.arange(22, dtype=np.uint8).reshape(2, 11)
    colours = np.array(voc_palette(), np.uint8).reshape(-1, 3)
    for white in (192, 191):
        shown = np.where(colours == 192, white, colours)[numbers]
        Image.fromarray(shown.astype(np.uint8)).save(tmp_path / "a.png")
        np.testing.assert_array_equal(first_ids(tmp_path / "a.png")[0], numbers)


def test_a_later_annotation_of_another_kind_is_found_when_it_is_read(tree):
    each_mask(mixed_later)(tree)
    video = DAVISDataset(str(tree), sequences=["a"])[0]["video"]
    with pytest.raises(FaultyVideo, match=r"00001.png has the values 40, 80, 120, but the first"):
        video.truth()
