"""JPEGs that are decoded late: upright, as coarsely as the crops allow, with the usual errors."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from bam_mm import InputError
from bam_mm.data import LoadImage, MultiCrop
from bam_mm.data.lazy_image import LazyImage, choose_reduction
from bam_mm.data.loading import decode_image

LAYOUT = dict(num_global=2, num_local=2, global_size=32, local_size=16)


def smooth(height, width, seed=0):
    noise = np.random.RandomState(seed).uniform(0, 255, (3, 4, 3)).astype(np.float32)
    wide = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(wide, 0, 255).astype(np.uint8)


def jpeg(image, orientation=None):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(image[..., ::-1]).save(buffer, "jpeg", quality=95, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_the_image_is_upright_and_equals_that_of_early_decoding(orientation):
    data = jpeg(smooth(40, 61), orientation)
    lazy, wanted = LazyImage(data, "a.jpg"), decode_image(data, "a.jpg")
    assert lazy.shape == wanted.shape
    assert np.array_equal(lazy.decode(), wanted)
    # It also converts to an array.
    assert np.array_equal(np.asarray(lazy), wanted)
    assert np.array_equal(lazy[..., ::-1], wanted[..., ::-1])
    half = lazy.decode(2)
    assert half.shape == (-(-wanted.shape[0] // 2), -(-wanted.shape[1] // 2), 3)
    down = cv2.resize(wanted, half.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(half.astype(float) - down).mean() < 3


@pytest.mark.parametrize(
    "sides,wanted",
    [
        ([(64, 64), (200, 200)], 2),
        ([(63, 64), (200, 200)], 1),
        ([(64, 64), (200, 63)], 1),
        ([(128, 140), (200, 128)], 4),
        ([(300, 300), (300, 256)], 8),
        ([(900, 900), (900, 900)], 8),
        ([(10, 10), (900, 900)], 1),
    ],
)
def test_reduction_against_values_by_hand(sides, wanted):
    boxes = [(5, 7, 5 + height, 7 + width) for height, width in sides]
    assert choose_reduction(boxes, [(32, 32), (32, 32)]) == wanted


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(jpeg(smooth(600, 800)))
    return str(path)


def views(path, lazy, seed=0):
    np.random.seed(seed)
    crop = MultiCrop(LAYOUT, photometric_place="device", backend="torch")
    return crop(LoadImage(lazy=lazy)(dict(img_path=path)))


def test_views_from_coarse_decoding_equal_those_from_the_whole_image(large, monkeypatch):
    asked = []
    decode = LazyImage.decode
    monkeypatch.setattr(LazyImage, "decode", lambda self, r=1: asked.append(r) or decode(self, r))
    for seed in range(10):
        whole, coarse = (views(large, lazy, seed) for lazy in (False, True))
        assert whole["crop_boxes"] == coarse["crop_boxes"] and whole["flips"] == coarse["flips"]
        assert coarse["img_shape"] == (600, 800)
        assert max(box[2] for box in coarse["crop_boxes"]) > 300  # pixels of the whole image
        for a, b in zip(whole["img"], coarse["img"], strict=True):
            assert a.shape == b.shape
            # Edges of crops are rounded to pixels of the coarse image: half a pixel of the view.
            off = a.astype(float) - b
            assert np.abs(off).mean() < 4 and np.abs(off.mean(axis=(0, 1))).max() < 3
    assert len(asked) == 10 and min(asked) >= 2  # once per image


def test_views_of_small_images_are_identical(tmp_path):
    path = tmp_path / "small.jpg"
    path.write_bytes(jpeg(smooth(60, 80)))
    whole, lazy = (views(str(path), lazy)["img"] for lazy in (False, True))
    assert all(np.array_equal(a, b) for a, b in zip(whole, lazy, strict=True))


def test_other_formats_are_decoded_immediately(tmp_path):
    path = tmp_path / "a.png"
    image = smooth(20, 30)
    cv2.imwrite(str(path), image)
    found = LoadImage(lazy=True)(dict(img_path=str(path)))["img"]
    assert isinstance(found, np.ndarray) and np.array_equal(found, image)


@pytest.mark.parametrize("spoil", [lambda d: d[: len(d) // 2], lambda d: b"\xff\xd8\xff\xd9"])
def test_a_truncated_file_is_found_when_it_is_loaded(tmp_path, spoil):
    path = tmp_path / "bad.jpg"
    path.write_bytes(spoil(jpeg(smooth(40, 60))))
    with pytest.raises(InputError, match=r"bad\.jpg is .*on_error='skip'"):
        LoadImage(lazy=True)(dict(img_path=str(path)))


def test_invalid_data_after_a_valid_header_is_found_when_it_is_decoded(tmp_path):
    path = tmp_path / "invalid.jpg"
    data = jpeg(smooth(40, 60))
    # Without Huffman tables and pixels, only the header with the size is valid.
    path.write_bytes(data[: data.index(b"\xff\xc4")] + bytes(50) + b"\xff\xd9")
    crop = MultiCrop(LAYOUT, photometric_place="device", backend="torch")
    with pytest.raises(InputError, match=r"invalid\.jpg is not a readable image"):
        crop(LoadImage(lazy=True)(dict(img_path=str(path))))
    load = LoadImage(on_error="skip", lazy=True)
    # Pillow 12 already refuses this header.
    loaded = load(dict(img_path=str(path)))
    assert loaded is None or crop(loaded) is None
    assert load.skipped.item() == 1
