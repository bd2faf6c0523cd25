"""A video with the mask of one frame: what is read, and one message for each fault."""

import cv2
import numpy as np
import pytest
from PIL import Image

from bam_mm import InputError
from bam_mm.data.indexed_png import voc_palette, write_indexed
from bam_mm.data.marked_video import open_marked_video

HEIGHT, WIDTH = 12, 16
IDS = np.zeros((HEIGHT, WIDTH), np.uint8)
IDS[2:6, 3:8], IDS[7:11, 9:15] = 1, 4
COLOURS = np.array(voc_palette(), np.uint8).reshape(-1, 3)


def frames_of(number):
    """Grey frames that get lighter."""
    return [np.full((HEIGHT, WIDTH, 3), 40 * t, np.uint8) for t in range(number)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shots").mkdir()
    for number, frame in enumerate(frames_of(4), start=8):
        Image.fromarray(frame).save(tmp_path / f"shots/shot{number}.png")
    write_indexed(tmp_path / "mask.png", IDS)
    return tmp_path


def test_a_folder_is_read_from_the_marked_frame_in_both_directions(folder):
    video = open_marked_video(folder / "shots", folder / "mask.png", folder / "new", frame=1)
    assert video.names == ("shot8", "shot9", "shot10", "shot11")
    assert [int(video.after.frame(t).mean()) for t in range(3)] == [40, 80, 120]
    assert [int(video.before.frame(t).mean()) for t in range(2)] == [40, 0]
    assert [int(video.whole().frame(t).mean()) for t in range(4)] == [0, 40, 80, 120]
    assert (video.after.annotation(0) == IDS).all() and (video.before.annotation(0) == IDS).all()
    joined = video.joined(np.array([1, 2, 3]), np.array([-1, 0]))
    assert joined.tolist() == [0, 1, 2, 3] and "objects 1, 4 in frame 1" in video.notes[-1]


def test_the_name_of_a_mask_tells_its_frame_and_a_mask_is_no_frame(folder):
    (folder / "mask.png").rename(folder / "shot10.png")
    video = open_marked_video(folder / "shots", folder / "shot10.png", folder / "new")
    assert len(video.before) == 3 and len(video.after) == 2
    (folder / "shot10.png").rename(folder / "010.png")
    video = open_marked_video(folder / "shots", folder / "010.png", folder / "new")
    assert len(video.before) == 3 and len(video.after) == 2
    (folder / "010.png").rename(folder / "shots/mask.png")
    video = open_marked_video(folder / "shots", folder / "shots/mask.png", folder / "new")
    assert video.before is None and len(video.after) == 4


@pytest.mark.parametrize("kind", ["avi", "gif", "mp4"])
def test_a_file_is_decoded_without_loss(kind, folder):
    path = folder / f"film.{kind}"
    if kind == "gif":
        pictures = [Image.fromarray(frame) for frame in frames_of(5)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80)
    else:
        code = cv2.VideoWriter.fourcc(*{"avi": "MJPG", "mp4": "mp4v"}[kind])
        writer = cv2.VideoWriter(str(path), code, 12.5, (WIDTH, HEIGHT))
        for frame in frames_of(5):
            writer.write(frame)
        writer.release()
    video = open_marked_video(path, folder / "mask.png", folder / "new")
    assert video.names == tuple(f"{t:05d}" for t in range(5)) and video.fps == 12.5
    capture = cv2.VideoCapture(str(path))
    for t in range(5):
        assert np.array_equal(video.after.frame(t), capture.read()[1])


@pytest.mark.parametrize(
    "mask, ids, note",
    [
        (Image.fromarray(IDS), [1, 4], "grey levels read as ids"),
        (Image.fromarray(COLOURS[IDS]), [1, 4], "colours of DAVIS's palette read as ids"),
        (Image.fromarray((IDS > 0) * np.uint8(255)), [1], "single object of value 255"),
    ],
)
def test_kinds_of_masks(mask, ids, note, folder):
    mask.save(folder / "mask.png")
    video = open_marked_video(folder / "shots", folder / "mask.png", folder / "new")
    assert np.unique(video.after.annotation(0)).tolist() == [0, *ids] and note in video.notes[0]


FAULTS = {
    "no mask": ("shots", "none.png", {}, r"mask .*none\.png does not exist"),
    "a folder of masks": ("shots", "shots", {}, r"mask .*shots is a folder: pass one image"),
    "no video": ("none.mp4", "mask.png", {}, r"video .*none\.mp4 does not exist: pass a video fil"),
    "a text": ("notes.mp4", "mask.png", {}, r"decodes no frame of .*notes\.mp4 \(5 bytes\): .*MP4"),
    "an image": ("mask.png", "mask.png", {}, r"mask\.png is a single image: pass a video file, or"),
    "no frames": ("empty", "mask.png", {}, r"empty has no frames: pass a video file, or a folder"),
    "one frame": ("one", "mask.png", {}, r"one has one frame, but two are needed"),
    "no such frame": ("shots", "mask.png", dict(frame=4), r"--frame 4: .* the frames 0 to 3"),
    "negative frame": ("shots", "mask.png", dict(frame=-1), r"--frame -1: .* the frames 0 to 3"),
    "size": ("shots", "small.png", {}, r"small\.png is 8x6, but the first frame is 16x12; resize"),
    "colours": ("shots", "colours.png", {}, r"colours\.png shows colours, not ids, .* indexed PNG"),
    "JPEG": ("shots", "mask.jpg", {}, r"mask\.jpg is a JPEG, which blurs the edges"),
    "no frame of its name": ("shots", "shot77.png", {}, r"shot77\.png is named like a frame, but"),
    "nothing": ("shots", "black.png", {}, r"mask .*black\.png shows no object: give each object"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_own_message(fault, folder, capfd):
    (folder / "notes.mp4").write_text("hello")
    (folder / "empty").mkdir()
    (folder / "one").mkdir()
    Image.fromarray(frames_of(1)[0]).save(folder / "one/a.png")
    Image.fromarray(IDS[:6, :8]).save(folder / "small.png")
    Image.fromarray(IDS).save(folder / "mask.jpg")
    Image.fromarray(IDS * 0).save(folder / "black.png")
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[2:5, 2:5] = (12, 99, 201)
    Image.fromarray(colours).save(folder / "colours.png")
    write_indexed(folder / "shot77.png", IDS)
    source, mask, options, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        open_marked_video(folder / source, folder / mask, folder / "new", **options)
