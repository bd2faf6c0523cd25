"""Videos in the folder layout of DAVIS, with and without faults."""

import shutil

import numpy as np
import pytest
from PIL import Image

from bam_mm import DAVISDataset, InputError
from bam_mm.data.indexed_png import voc_palette, write_indexed
from bam_mm.data.toy.davis import HEIGHT, WIDTH, clips, write_clip
from bam_mm.data.video import FaultyVideo
from bam_mm.registry import DATASETS
from tests.data.video_tree import read_indexed

NAMES = ("a", "b")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("davis")
    for name, clip in zip(NAMES, clips("val", 2, seed=3), strict=True):
        write_clip(root, name, clip, frames=4)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("b\na\n")
    return root


@pytest.fixture
def broken(tree, tmp_path):
    root = tmp_path / "davis"
    shutil.copytree(tree, root)
    return root


def files(root, kind, name="a"):
    return sorted((root / kind / "480p" / name).iterdir())


def test_order_and_contents_follow_the_list(tree):
    data = DATASETS.build(dict(type="bam_mm.DAVISDataset", data_root=str(tree)))
    assert [data[i]["video"].name for i in range(len(data))] == ["b", "a"]
    video = data[1]["video"]
    assert (len(video), video.size, video.index) == (4, (HEIGHT, WIDTH), 1)
    for t in range(4):
        stored = np.asarray(Image.open(files(tree, "JPEGImages")[t]))[:, :, ::-1].astype(int)
        assert np.abs(video.frame(t) - stored).max() <= 2  # two different JPEG decoders
        np.testing.assert_array_equal(
            video.annotation(t), np.asarray(Image.open(files(tree, "Annotations")[t]))
        )
    assert video.truth().shape == (4, HEIGHT, WIDTH)
    assert data.metainfo == {"left_out": {}}


def test_frames_are_read_on_demand(tree, monkeypatch):
    video = DAVISDataset(str(tree))[0]["video"]
    reads = []
    monkeypatch.setattr(
        "bam_mm.data.video.decode_image",
        lambda data, path, remedy: reads.append(path) or np.zeros((HEIGHT, WIDTH, 3)),
    )
    assert reads == []
    video.frame(2)
    assert reads == [video.frames[2]]


def test_a_tree_without_lists_has_every_sequence(broken):
    shutil.rmtree(broken / "ImageSets")
    assert [v.name for v in DAVISDataset(str(broken)).videos] == ["a", "b"]
    assert [v.name for v in DAVISDataset(str(broken), sequences=["b"]).videos] == ["b"]


def test_frames_named_by_plain_numbers_are_ordered_as_numbers(broken):
    for kind in ("JPEGImages", "Annotations"):
        for path, number in zip(files(broken, kind), (8, 9, 10, 11), strict=True):
            path.rename(path.with_stem(str(number)))
    video = DAVISDataset(str(broken), sequences=["a"])[0]["video"]
    assert [p.rsplit("/", 1)[1] for p in video.frames] == ["8.jpg", "9.jpg", "10.jpg", "11.jpg"]


def test_palette_round_trip(tmp_path):
    palette = voc_palette()
    assert palette[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    other = palette[::-1]
    write_indexed(tmp_path / "a.png", ids, other)
    write_indexed(tmp_path / "b.png", ids, other)
    back, colours = read_indexed(tmp_path / "a.png")
    np.testing.assert_array_equal(back, ids)
    assert colours == other
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def resize(path, size):
    with Image.open(path) as image:
        image.resize(size, Image.Resampling.NEAREST).save(path)


def one_frame(root):
    for kind in ("JPEGImages", "Annotations"):
        for path in files(root, kind)[1:]:
            path.unlink()


FAULTS = {
    "no first annotation": (
        lambda root: files(root, "Annotations")[0].unlink(),
        ("first annotation", "00000.png", "add an indexed PNG"),
    ),
    "a later annotation is missing": (
        lambda root: files(root, "Annotations")[2].unlink(),
        ("1 of 4 frames have no annotation", "00002.png", "annotated=first"),
    ),
    "frames of different sizes": (
        lambda root: resize(files(root, "JPEGImages")[2], (80, 48)),
        ("frame", "00002.jpg is 80x48", f"{WIDTH}x{HEIGHT}", "to one size"),
    ),
    "annotation of another size": (
        lambda root: resize(files(root, "Annotations")[1], (80, 48)),
        ("annotation", "00001.png is 80x48", f"{WIDTH}x{HEIGHT}", "nearest-neighbour"),
    ),
    "one frame": (
        one_frame,
        ("1 frame in", "but 3 are needed", "first and the last", "remove the name"),
    ),
    "annotation in colours": (
        lambda root: Image.fromarray(
            np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        ).save(files(root, "Annotations")[0]),
        ("00000.png shows colours, not ids", "indexed PNG"),
    ),
    "annotation without an object": (
        lambda root: write_indexed(
            files(root, "Annotations")[0], np.zeros((HEIGHT, WIDTH), np.uint8)
        ),
        ("00000.png shows no object",),
    ),
    "listed, but missing": (
        lambda root: shutil.rmtree(root / "JPEGImages/480p/a"),
        ("JPEGImages/480p/a does not exist", "remove the name"),
    ),
    "a frame that is not an image": (
        lambda root: files(root, "JPEGImages")[1].write_bytes(b""),
        ("00001.jpg is not a readable image (0 bytes)",),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_video_is_reported_and_left_out(broken, fault):
    break_it, words = FAULTS[fault]
    break_it(broken)
    data = DAVISDataset(str(broken))
    assert [v.name for v in data.videos] == ["b"]
    message = data.metainfo["left_out"]["a"]
    for word in ("video a", *words):
        assert word in message, message
    # A data set with faulty videos only is an error.
    with pytest.raises(InputError, match="none of 1 videos"):
        DAVISDataset(str(broken), sequences=["a"])


def test_only_the_first_annotation_is_needed_if_nothing_is_scored(broken):
    for path in files(broken, "Annotations")[1:]:
        path.unlink()
    video = DAVISDataset(str(broken), sequences=["a"], annotated="first")[0]["video"]
    assert not video.scored and len(video) == 4 and video.annotations[1:] == (None,) * 3


def test_a_truncated_frame_is_found_when_it_is_read(broken):
    path = files(broken, "JPEGImages")[1]
    path.write_bytes(path.read_bytes()[:800])  # the header with the size is intact
    video = DAVISDataset(str(broken), sequences=["a"])[0]["video"]
    with pytest.raises(FaultyVideo, match=r"video a: frame .*00001.jpg is truncated .*: restore"):
        video.frame(1)
    mask = files(broken, "Annotations")[1]
    mask.write_bytes(mask.read_bytes()[:-30])
    with pytest.raises(FaultyVideo, match=r"video a: annotation .*00001.png cannot be read"):
        video.truth()


def test_missing_folders_and_wrong_options(tree, tmp_path):
    for kwargs, words in (
        (dict(data_root="/nowhere"), "data folder /nowhere does not exist"),
        (dict(data_root=str(tmp_path)), "arrange the videos as"),
        (dict(data_root=str(tree), resolution="1080p"), "has: 480p"),
        (dict(data_root=str(tree), split="test"), "test.txt does not exist"),
        (dict(data_root=str(tree), sequences=["a", "zebra"]), "sequences zebra are not in"),
        (dict(data_root=str(tree), annotated="last"), "choose 'all' or 'first'"),
    ):
        with pytest.raises(InputError, match=words):
            DAVISDataset(**kwargs)
