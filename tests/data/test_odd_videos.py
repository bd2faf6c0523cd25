"""Files of videos as other tools write them: read as meant, or left out with a message."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bam_mm import DAVISDataset, InputError
from bam_mm.data.indexed_png import write_indexed
from bam_mm.data.video import FaultyVideo
from tests.data.video_tree import FRAMES, frames, masks, order_of, truth_of_boxes, write_tree
from tests.fuzzing import fuzz_settings


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "davis")


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


def test_what_is_wrong_with_a_frame_is_named(tree):
    video = DAVISDataset(str(tree), sequences=["a"])[0]["video"]
    frames(tree)[1].write_bytes(b"")
    frames(tree)[2].unlink()
    with pytest.raises(FaultyVideo, match=r"a: frame .*00001.jpg is empty .*: restore the file"):
        video.frame(1)
    with pytest.raises(FaultyVideo, match=r"frame .*00002.jpg cannot be read \(No such.*: restore"):
        video.frame(2)


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
    image = Image.fromarray(ids.astype(dtype))
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
