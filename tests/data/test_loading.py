"""Unreadable images: an error with the file's name, or a count of skipped images."""

import cv2
import numpy as np
import pytest

from bam_mm import InputError
from bam_mm.data import LoadImage


@pytest.fixture
def jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.random.RandomState(0).randint(0, 255, (64, 64, 3), np.uint8))
    return path


def test_images_are_loaded_in_bgr(tmp_path):
    path = tmp_path / "blue.png"
    cv2.imwrite(str(path), np.full((4, 6, 3), (255, 0, 0), np.uint8))
    result = LoadImage()(dict(img_path=str(path)))
    assert result["img"][0, 0].tolist() == [255, 0, 0]
    assert result["img_shape"] == (4, 6)


def test_appended_bytes_are_not_a_truncation(jpeg):
    jpeg.write_bytes(jpeg.read_bytes() + b"camera data" * 10)
    assert LoadImage()(dict(img_path=str(jpeg)))["img"].shape == (64, 64, 3)


@pytest.mark.parametrize(
    "spoil,words",
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"", "is empty"),
        (lambda data: b"not an image at all", "not a readable image"),
    ],
)
def test_stop_raises_an_error_with_the_file_name(jpeg, spoil, words):
    jpeg.write_bytes(spoil(jpeg.read_bytes()))
    with pytest.raises(
        InputError, match=rf"a\.jpg is .*{words.removeprefix('is ')}.*on_error='skip'"
    ):
        LoadImage()(dict(img_path=str(jpeg)))


def test_skip_counts_the_images(jpeg):
    jpeg.write_bytes(jpeg.read_bytes()[:200])
    load = LoadImage(on_error="skip")
    assert load(dict(img_path=str(jpeg))) is None
    assert load(dict(img_path=str(jpeg.with_name("missing.jpg")))) is None
    assert load.skipped.item() == 2


def test_missing_file_and_wrong_setting(tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg cannot be read \(No such file"):
        LoadImage()(dict(img_path=str(tmp_path / "gone.jpg")))
    with pytest.raises(InputError, match="'ignore'"):
        LoadImage(on_error="ignore")
