"""Videos as other tools write them: read as their owner means them, or left out with a message."""

import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bam_mm import DAVISDataset, InputError
from bam_mm.data.indexed_png import read_indexed, voc_palette, write_indexed
from bam_mm.data.object_ids import first_ids, next_ids
from bam_mm.data.video import FaultyVideo
from tests.data.annotated import bitmap
from tests.fuzzing import fuzz_settings

SIZE = (16, 24)
FRAMES = 12


def truth_of_boxes(frames=FRAMES, ids=(1, 2, 3)):
    """Return (T, H, W) ids of boxes that move to the right."""
    truth = np.zeros((frames, *SIZE), np.uint8)
    for t in range(frames):
        for row, number in enumerate(ids):
            truth[t, 1 + 5 * row : 5 + 5 * row, 1 + t % 8 : 7 + t % 8] = number
    return truth


def write_tree(root, names=("a", "b"), frames=FRAMES):
    truth = truth_of_boxes(frames)
    for name in names:
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p" / name).mkdir(parents=True, exist_ok=True)
        for t in range(frames):
            # The number of the frame is its grey level.
            image = np.full((*SIZE, 3), 20 * t, np.uint8)
            cv2.imwrite(str(root / f"JPEGImages/480p/{name}/{t:05d}.jpg"), image)
            write_indexed(root / f"Annotations/480p/{name}/{t:05d}.png", truth[t])
    return root


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "davis")


def masks(root, name="a"):
    return sorted((root / "Annotations/480p" / name).iterdir())


def frames(root, name="a"):
    return sorted((root / "JPEGImages/480p" / name).iterdir())


def order_of(video):
    return [round(video.frame(t).mean() / 20) for t in range(len(video))]


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


def test_what_is_wrong_with_a_frame_is_named(tree):
    video = DAVISDataset(str(tree), sequences=["a"])[0]["video"]
    frames(tree)[1].write_bytes(b"")
    frames(tree)[2].unlink()
    with pytest.raises(FaultyVideo, match=r"a: frame .*00001.jpg is empty .*: restore the file"):
        video.frame(1)
    with pytest.raises(FaultyVideo, match=r"frame .*00002.jpg cannot be read \(No such.*: restore"):
        video.frame(2)


def test_a_later_annotation_of_another_kind_is_found_when_it_is_read(tree):
    each_mask(mixed_later)(tree)
    video = DAVISDataset(str(tree), sequences=["a"])[0]["video"]
    with pytest.raises(FaultyVideo, match=r"00001.png has the values 40, 80, 120, but the first"):
        video.truth()


def rename(root, frame="{}", mask=None):
    for paths, pattern in ((frames(root), frame), (masks(root), mask or frame)):
        for t, path in enumerate(paths):
            path.rename(path.with_name(pattern.format(t) + path.suffix))


NAMES = {
    "frame0 to frame11": ("frame{}", "frame{}"),
    "plain numbers": ("{}", "{}"),
    "padding that runs out": ("v1_{:01d}", "v1_{:01d}"),
    "masks named by the number alone": ("frame_{:05d}", "{}"),
    "masks with a prefix": ("{:05d}", "mask-{:05d}"),
    "masks with another padding": ("{:04d}", "{:06d}"),
}


@pytest.mark.parametrize("names", NAMES)
def test_frames_follow_their_numbers_and_masks_their_frames(tree, names):
    rename(tree, *NAMES[names])
    video = DAVISDataset(str(tree), sequences=["a"])[0]["video"]
    assert order_of(video) == list(range(FRAMES))
    np.testing.assert_array_equal(video.truth(), truth_of_boxes())


def test_masks_that_no_number_assigns_leave_the_video_out(tree):
    rename(tree, "{}", "{}_of_12")  # every mask has the same last number
    message = DAVISDataset(str(tree)).metainfo["left_out"]["a"]
    assert "first annotation" in message and "0.png is missing" in message


def test_a_frame_is_read_once_whatever_its_endings(tree):
    for path in frames(tree)[3:6]:
        Image.open(path).save(path.with_suffix(".png"))
    for path in frames(tree, "b"):
        path.rename(path.with_suffix(".JPEG"))
    a, b = DAVISDataset(str(tree), split=None).videos
    assert len(a) == len(b) == FRAMES and order_of(a) == order_of(b) == list(range(FRAMES))
    assert all(frame.endswith(".jpg") for frame in a.frames)
    assert "3 files with the name of another frame left out (.png)" in a.notes


def test_files_and_folders_of_systems_are_no_frames(tree):
    for folder in ("JPEGImages/480p", "JPEGImages/480p/a", "Annotations/480p/a"):
        (tree / folder / ".ipynb_checkpoints").mkdir()
        (tree / folder / "@eaDir").mkdir()
        for name in (".DS_Store", "Thumbs.db", "._00000.jpg", "._00000.png"):
            (tree / folder / name).write_bytes(b"x" * 4096)
    data = DAVISDataset(str(tree))
    assert [v.name for v in data.videos] == ["a", "b"] and not data.left_out
    assert order_of(data.videos[0]) == list(range(FRAMES)) and not data.videos[0].notes


def test_videos_with_a_first_annotation_alone_are_not_scored(tree, caplog):
    for name in ("a", "b"):
        for path in masks(tree, name)[1:]:
            path.unlink()
    data = DAVISDataset(str(tree))
    assert [video.scored for video in data.videos] == [False, False] and not data.left_out
    # Beside a video with annotations, a missing annotation is a fault.
    write_indexed(tree / "Annotations/480p/b/00004.png", truth_of_boxes()[4])
    with pytest.raises(InputError, match=r"none of 2 videos .* 11 of 12 frames have no annotation"):
        DAVISDataset(str(tree))


def test_annotations_of_every_third_frame_are_scored(tree):
    for t, path in enumerate(masks(tree)):
        if t % 3:
            path.unlink()
    video = DAVISDataset(str(tree), sequences=["a"])[0]["video"]
    assert video.scored and video.annotated == [0, 3, 6, 9]
    np.testing.assert_array_equal(video.truth(), truth_of_boxes()[::3])
    masks(tree)[2].unlink()
    message = DAVISDataset(str(tree)).metainfo["left_out"]["a"]
    assert "9 of 12 frames have no annotation, the first" in message and "00001.png" in message


LISTS = {
    "line ends of Windows": ("2017/val.txt", b"b\r\na\r\n"),
    "a byte order mark": ("2017/val.txt", b"\xef\xbb\xbfb\na"),
    "a name twice": ("2017/val.txt", b"b\na\nb\n"),
    "a list beside the folders": ("val.txt", b"b\na\n"),
    "a list of DAVIS-2016": (
        "480p/val.txt",
        b"".join(
            b"/JPEGImages/480p/%b/0000%d.jpg /Annotations/480p/%b/0000%d.png\n" % (n, t, n, t)
            for n in (b"b", b"a")
            for t in range(2)
        ),
    ),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_sequences(tree, kind):
    name, content = LISTS[kind]
    path = tree / "ImageSets" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    data = DAVISDataset(str(tree))
    assert [v.name for v in data.videos] == ["b", "a"] and not data.left_out


def test_a_list_of_something_else_stops(tree):
    (tree / "ImageSets/2017").mkdir(parents=True)
    (tree / "ImageSets/2017/val.txt").write_text("a/00000.jpg\n")
    with pytest.raises(InputError, match=r"val.txt has the line 'a/00000.jpg', which is not"):
        DAVISDataset(str(tree))


@pytest.mark.parametrize("orientation", [3, 6])
def test_frames_with_an_orientation_leave_the_video_out(tree, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = frames(tree)[4]
    Image.open(path).save(path, exif=exif.tobytes())
    message = DAVISDataset(str(tree)).metainfo["left_out"]["a"]
    assert f"00004.jpg has the Exif orientation {orientation}" in message and "upright" in message


MODES = ("P", "L", "1", "RGB", "RGBA", "LA", "I;16", "I", "F", "CMYK")


@given(
    st.lists(st.sampled_from(MODES), min_size=1, max_size=4),
    st.lists(
        st.sampled_from(["{}", "{:05d}", "f{}", ".{}", "x", "{}.bak"]), min_size=2, max_size=2
    ),
    st.lists(st.sampled_from([".jpg", ".png", ".PNG", ".tif", ".txt"]), min_size=2, max_size=2),
    st.sampled_from([(0, 1), (0, 1, 2, 255), (0, 255), (7,), tuple(range(256))]),
    st.integers(0, 400),
    st.integers(0, 2**32 - 1),
)
@fuzz_settings()
def test_fuzz_random_trees_are_read_or_left_out(
    tmp_path_factory, modes, names, ends, ids, cut, seed
):
    root = tmp_path_factory.mktemp("fuzz", numbered=True)
    rng = np.random.default_rng(seed)
    try:
        for kind, name, end in zip(("JPEGImages", "Annotations"), names, ends, strict=True):
            (root / kind / "480p/v").mkdir(parents=True)
            for t in range(rng.integers(1, 5)):
                path = root / kind / "480p/v" / (name.format(t) + end)
                mode = "RGB" if kind == "JPEGImages" else modes[t % len(modes)]
                write_random(path, mode, rng.choice(np.uint8(ids), (4, 6)), rng)
                if rng.random() < 0.1:
                    path.write_bytes(path.read_bytes()[:cut])
        try:
            data = DAVISDataset(str(root))
        except InputError:
            return
        for video in data.videos:
            try:
                shown = video.truth()
                assert shown.dtype == np.uint8 and shown.shape == (len(video.annotated), 4, 6)
                assert set(np.unique(video.annotation(0))) - {0, 255}
                assert video.frame(0).shape == (4, 6, 3)
            except FaultyVideo:
                pass
    finally:
        shutil.rmtree(root)


def write_random(path, mode, ids, rng):
    dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}.get(mode, np.uint8)
    image = Image.fromarray(ids.astype(dtype)) if mode not in ("P",) else Image.fromarray(ids)
    if mode == "P":
        image = Image.fromarray(ids, mode="P")
        size = int(rng.choice([1, 4, 256]))
        image.putpalette(rng.integers(0, 256, 3 * size).astype(np.uint8).tolist())
    elif mode not in ("I;16", "I", "F"):
        image = image.convert(mode)
    known = {".jpg": "JPEG", ".tif": "TIFF"}.get(path.suffix, "PNG")
    try:
        image.save(path, format=known)
    except (OSError, ValueError):  # A format that lacks this mode.
        image.convert("RGB").save(path, format=known)
