"""Unreadable images: an error with the file's name, or a count of skipped images."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose, LoadImageFromFile
from PIL import Image

from bam_mm import InputError
from bam_mm.data import CheckImage, LoadImage


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


def photograph(mode, path, **settings):
    """Write a picture of a mode, 20 px high and 30 px wide, with other values in each quarter."""
    values = np.zeros((20, 30, 4), np.uint8)
    values[:10, :15], values[10:, :15] = (200, 30, 60, 255), (10, 220, 90, 120)
    values[:10, 15:], values[10:, 15:] = (40, 80, 240, 60), (250, 250, 20, 0)
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    Image.fromarray(values[..., :channels].squeeze(), mode).save(path, **settings)
    return str(path)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return dict(exif=exif)


@pytest.mark.parametrize(
    "mode, name, settings, size",
    [
        ("RGB", "a.jpg", {}, (20, 30)),
        ("RGB", "a.jpg", turned(6), (30, 20)),
        ("RGB", "a.jpg", turned(3), (20, 30)),
        ("L", "a.jpg", {}, (20, 30)),
        ("CMYK", "a.jpg", {}, (20, 30)),
        ("RGBA", "a.png", {}, (20, 30)),
        ("LA", "a.png", {}, (20, 30)),
        ("RGB", "a.bmp", {}, (20, 30)),
        ("RGB", "a.webp", {}, (20, 30)),
    ],
)
def test_the_check_and_the_librarys_loader_equal_our_loader(mode, name, settings, size, tmp_path):
    path = photograph(mode, tmp_path / name, **settings)
    found = Compose([CheckImage(), LoadImageFromFile()])(dict(img_path=path))
    expected = LoadImage()(dict(img_path=path))
    assert found.keys() == expected.keys()
    assert np.array_equal(found["img"], expected["img"]) and found["img"].std() > 20
    assert found["img"].shape == (*size, 3) and found["img"].dtype == np.uint8
    assert found["img_shape"] == found["ori_shape"] == expected["ori_shape"] == size


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda data: data[: len(data) // 2], "is truncated"),
        (lambda data: b"", "is empty"),
        (lambda data: b"not an image at all", "is not a readable image"),
        (lambda data: data[:2] + b"\0" * 60 + data[-2:], "is not a readable image"),
    ],
)
def test_the_check_names_the_file_and_a_remedy(jpeg, spoil, words):
    jpeg.write_bytes(spoil(jpeg.read_bytes()))
    for given in (dict(img_path=str(jpeg)), str(jpeg)):
        with pytest.raises(InputError, match=rf"a\.jpg {words} .*: replace the file, or remove"):
            CheckImage()(given)


def test_the_check_of_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png cannot be read \(No such file.*replace"):
        CheckImage()(dict(img_path=str(tmp_path / "gone.png")))


def test_inputs_without_a_local_file_are_not_checked():
    array = np.zeros((4, 6, 3), np.uint8)
    for given in (array, dict(img=array), dict(img=array, img_path=None), "https://a.b/c.jpg"):
        assert CheckImage()(given) is given


def test_the_check_does_not_decode_a_valid_jpeg(jpeg, tmp_path, monkeypatch):
    decoded = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *args: decoded.append(args) or decode(*args))
    CheckImage()(dict(img_path=str(jpeg)))
    assert not decoded
    CheckImage()(dict(img_path=photograph("RGB", tmp_path / "a.png")))
    assert len(decoded) == 1
