"""Decoding: images of every kind against independent values, and messages for all other files."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bam_mm import InputError
from bam_mm.data import CheckImage, LoadImage
from bam_mm.data.decoding import decode_image
from bam_mm.data.image_bytes import size_in_header
from tests.data.image_kinds import (
    FURTHER,
    GREY16,
    RGB,
    SOUND,
    encode,
    exif,
    pgm,
    png_header,
    saved,
    segment,
    tiff,
    transparent,
    with_opencv,
    with_thumbnail,
)
from tests.fuzzing import fuzz_settings

JPEG = SOUND["JPEG"]


def read(data):
    """Decode to RGB."""
    return decode_image(data, "x")[..., ::-1]


def lazily(data, path):
    path.write_bytes(data)
    return np.asarray(LoadImage(lazy=True)(dict(img_path=str(path)))["img"])


@pytest.mark.parametrize("kind", [*SOUND, *FURTHER])
def test_early_and_late_decoding_agree_with_each_other_and_with_opencv(kind, tmp_path):
    data = {**SOUND, **FURTHER}[kind]
    image = decode_image(data, "x")
    assert image.dtype == np.uint8 and image.shape[2] == 3 and image.std() > 20
    # The content decides, not the name.
    assert np.array_equal(lazily(data, tmp_path / "x.jpg"), image)
    if kind in SOUND:
        opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(image, opencv)


@pytest.mark.parametrize(
    "data",
    [encode(kind, lossless=True, exif=exif(o)) for kind in ("PNG", "WEBP") for o in range(1, 9)],
)
def test_the_orientation_in_exif_is_applied(data, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with Image.open(tmp_path / "x") as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read(data), upright)


def test_exif_counts_wherever_it_stands_in_the_header(tmp_path):
    turned = encode("JPEG", exif=exif(6), quality=95)
    late = turned[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>") + turned[2:]
    assert read(late).shape == (24, 16, 3) and np.array_equal(read(late), read(turned))
    assert np.array_equal(lazily(late, tmp_path / "a.jpg"), decode_image(turned, "x"))
    damaged = turned.replace(b"MM\0*", b"MM\0+").replace(b"II*\0", b"II+\0")
    assert read(damaged).shape == (16, 24, 3)


def test_sixteen_bits_become_their_upper_eight():
    for data in (saved(Image.fromarray(GREY16), "PNG"), tiff(GREY16, 1), pgm(GREY16, 65535)):
        for channel in range(3):
            assert np.array_equal(read(data)[..., channel], GREY16 >> 8)
    full = with_opencv(".png", RGB[..., ::-1].astype(np.uint16) * 257)
    assert np.array_equal(read(full), RGB)


@pytest.mark.parametrize("white", [100, 1023, 4095])
def test_white_of_pgm_and_ppm_files_is_255(white):
    samples = np.rint(RGB * (white / 255.0)).astype(int)
    step = 255 / white / 2 + 0.5
    assert np.abs(read(pgm(samples, white)).astype(int) - RGB).max() <= step
    grey = read(pgm(samples[..., 0], white)).astype(int)
    assert np.abs(grey - RGB[..., :1]).max() <= step and read(pgm(samples, white)).max() == 255


def test_of_several_frames_the_first_counts():
    for kind in ("animated WebP", "TIFF of three pages"):
        assert np.array_equal(read({**SOUND, **FURTHER}[kind]), RGB)
    assert np.array_equal(read(FURTHER["animated GIF"]), read(FURTHER["GIF"]))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_colour_under_transparency_counts(kind):
    data = saved(transparent(), kind, lossless=True, exact=True)
    wanted = np.asarray(transparent())[..., :3]
    assert np.array_equal(read(data), wanted) and tuple(wanted[0, -1]) == (200, 100, 7)
    gif = read(FURTHER["transparent GIF"])
    assert tuple(gif[0, 0]) == (250, 10, 20) and tuple(gif[0, -1]) == (9, 200, 30)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 2)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_of_extreme_sizes(size, kind):
    image = Image.fromarray(np.full((*size, 3), 99, np.uint8))
    assert (read(saved(image, kind)) == 99).all() and read(saved(image, kind)).shape == (*size, 3)


VIDEO = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40


@pytest.mark.parametrize(
    "trailer",
    [
        bytes(20_000),
        VIDEO,
        b"\xff" * 5000,
        JPEG + VIDEO,  # a gain map and a motion photo
        JPEG[: len(JPEG) // 2],
        b"SEFH\x6b\0\0\0" + bytes(5000) + b"SEFT",
    ],
    ids=["zeros", "video", "ones", "second image and video", "half an image", "phone"],
)
@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "JPEG with thumbnail"])
def test_data_after_the_end_of_a_jpeg_does_not_matter(kind, trailer, tmp_path):
    data, path = SOUND[kind], tmp_path / "a.jpg"
    assert np.array_equal(read(data + trailer), read(data))
    assert np.array_equal(lazily(data + trailer, path), decode_image(data, "x"))
    assert CheckImage()(str(path)) == str(path)


THUMBNAIL = SOUND["JPEG with thumbnail"]


@pytest.mark.parametrize(
    "data",
    [
        JPEG[:3],
        JPEG[:200],
        JPEG[: JPEG.index(b"\xff\xda") + 20],
        JPEG[: 2 * len(JPEG) // 3],
        JPEG[:-2],
        JPEG[:-1],
        JPEG[:-2] + bytes(9000),
        THUMBNAIL[: THUMBNAIL.index(b"\xff\xd9") + 2],
        THUMBNAIL[: THUMBNAIL.index(b"\xff\xd9") + 60],
        with_thumbnail(encode("JPEG", progressive=True), JPEG)[:-9],
    ],
    ids=["start", "header", "scan", "middle", "no end", "half of the end", "padded",
         "at the thumbnail's end", "after the thumbnail", "progressive"],
)  # fmt: skip
def test_a_cut_jpeg_is_truncated(data, tmp_path):
    (tmp_path / "a.jpg").write_bytes(data)
    given = dict(img_path=str(tmp_path / "a.jpg"))
    for step in (LoadImage(), LoadImage(lazy=True), CheckImage()):
        with pytest.raises(InputError, match=rf"a\.jpg is truncated \({len(data)} bytes.*replace"):
            step(given)


CUT = ("PNG", "grey PNG of 16 bits", "TIFF", "TIFF with LZW", "WebP", "WebP without loss", "BMP",
       "PPM", "GIF", "animated GIF", "animated WebP", "transparent GIF")  # fmt: skip


@pytest.mark.parametrize("kind", CUT)
def test_other_cut_files_are_not_filled_with_grey(kind):
    data = {**SOUND, **FURTHER}[kind]
    for share in np.linspace(0.02, 1, 20, endpoint=False):
        with pytest.raises(InputError, match=r"^x is (truncated|not a readable image) \("):
            decode_image(data[: int(len(data) * share)], "x")


@pytest.mark.parametrize(
    "data, words",
    [
        (tiff(GREY16.astype(np.float32) / 65535, 3), "32-bit floating-point"),
        (tiff(GREY16.astype(np.float64), 3), "64-bit floating-point"),
        (tiff(GREY16.astype(np.int32), 2), "32-bit signed"),
        (tiff(GREY16.astype(np.uint32), 1), "32-bit integer"),
        (tiff((GREY16 // 2).astype(np.int16), 2), "16-bit signed"),
        (saved(Image.fromarray(GREY16.astype(np.float32)), "TIFF"), "32-bit floating-point"),
        (b"Pf\n2 2\n-1\n" + bytes(16), "floating-point"),
    ],
)
def test_samples_of_an_unknown_range_are_not_guessed(data, words):
    with pytest.raises(InputError, match=f"x has {words} samples, whose range is unknown"):
        decode_image(data, "x")


@pytest.mark.parametrize(
    "data, words",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer.*pull"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page"),
        (b"<html><body>Not Found</body></html>", "a web page"),
        (b'<?xml version="1.0"?><svg/>', "XML or SVG"),
        (b'{"error": "quota"}', "JSON"),
        (b"\0\0\0\x1cftypheic" + bytes(40), "HEIC"),
        (VIDEO, "a video"),
        (b"%PDF-1.4", "a PDF"),
        (b"PK\x03\x04" + bytes(30), "an archive"),
        (bytes(5000), "nothing but zero bytes"),
        (b"\x00\x05\x16\x07" + bytes(60), "AppleDouble"),
    ],
)
def test_what_is_no_image_is_named(data, words):
    with pytest.raises(InputError, match=rf"x is not a readable image \({len(data)} .*{words}"):
        decode_image(data, "x")


def large_jpeg():
    """Return a JPEG whose header names 65,500 x 65,500 pixels."""
    place = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:place] + b"\xff\xdc" * 2 + JPEG[place + 4 :]


@pytest.mark.parametrize(
    "data, size",
    [(png_header(40_000, 40_000), "40000 x 40000"), (large_jpeg(), "65500 x 65500"),
     (b"P6\n60000 60000\n255\n" + bytes(99), "118 bytes")],
)  # fmt: skip
def test_images_beyond_the_limit_of_opencv(data, size, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    words = rf"a\.jpg has more pixels than OpenCV reads \({size}.*OPENCV_IO_MAX_IMAGE_PIXELS"
    for lazy in (False, True):
        with pytest.raises(InputError, match=words):
            LoadImage(lazy=lazy)(dict(img_path=str(path)))
        load = LoadImage(on_error="skip", lazy=lazy)
        assert load(dict(img_path=str(path))) is None and load.skipped.item() == 1
    with pytest.raises(InputError, match=words):
        CheckImage()(str(path))


@pytest.mark.parametrize("offset, value", [(1, 0xC3), (4, 12)], ids=["lossless", "12 bits"])
def test_kinds_of_jpeg_that_are_not_decoded_stop_before_the_librarys_loader(
    offset, value, tmp_path
):
    data, path = bytearray(JPEG), tmp_path / "a.jpg"
    data[JPEG.index(b"\xff\xc0") + offset] = value
    path.write_bytes(data)
    for step in (CheckImage(), LoadImage(), LoadImage(lazy=True)):
        with pytest.raises(InputError, match=r"a\.jpg is not a readable image"):
            step(dict(img_path=str(path)))


@pytest.mark.parametrize("kind", ["transparent GIF", "WebP of orientation 6", "PGM of 12 bits"])
def test_the_check_stops_where_the_librarys_loader_reads_other_pixels(kind, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(FURTHER[kind])
    # Later versions of OpenCV turn WebP.
    plain = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: plain(data, flags | 128))
    with pytest.raises(InputError, match=r"a\.png is .* reads differently .*: save it as PNG"):
        CheckImage()(str(tmp_path / "a.png"))


SEEDS = [*SOUND.values(), *FURTHER.values()]


@st.composite
def damaged(draw):
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for place, value in draw(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6)):
        data[int(place * (len(data) - 1))] = value
    start, stop = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    change = draw(st.sampled_from(["none", "cut", "zeros", "drop"]))
    a, b = int(start * len(data)), int(stop * len(data))
    data = {"none": data, "cut": data[:b], "zeros": data[:a] + bytes(b - a) + data[b:],
            "drop": data[:a] + data[b:]}[change]  # fmt: skip
    return bytes(data)


def claimed_pixels(data, path):
    path.write_bytes(data)
    try:
        with Image.open(path) as image:
            return image.size[0] * image.size[1]
    except Image.DecompressionBombError:
        return 1 << 40
    except Exception:
        height, width = size_in_header(data) or (1, 1)
        return height * width


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "x.jpg"


@pytest.mark.filterwarnings("ignore")
@fuzz_settings()
@given(data=damaged())
def test_fuzz_damaged_files_are_images_or_messages(scratch, data):
    assume(claimed_pixels(data, scratch) < 1 << 22)  # a header may claim gigabytes
    for decode in (lambda: decode_image(data, "x"), lambda: lazily(data, scratch)):
        try:
            image = decode()
        except InputError:
            continue
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
