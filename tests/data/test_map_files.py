"""Maps of every kind of file: their ids, or one message."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from bam_mm import InputError
from bam_mm.data.map_files import is_wide, read_map, read_map_file
from bam_mm.data.map_labels import to_labels
from tests.data.annotated import bitmap, encoded, palette, png
from tests.fuzzing import fuzz_settings

IDS = np.array([[0, 1, 2], [3, 2, 255], [7, 1, 0], [9, 9, 150]], np.uint8)
FEW = np.array([[0, 1, 2, 3, 3], [3, 2, 1, 0, 1]], np.uint8)
SOME = np.arange(16, dtype=np.uint8).reshape(2, 8)
BINARY = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
MANY = np.array([[0, 262, 300], [255, 256, 65535]], np.uint16)
OPAQUE = np.full_like(IDS, 255)
GAMMA = (b"gAMA", (45455).to_bytes(4, "big"))
TRANSPARENT = (b"tRNS", (3).to_bytes(2, "big"))


def tiff(image, **tags):
    found = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        found[int(tag[1:])] = value
    return encoded(image, "TIFF", tiffinfo=found)


READ = {
    "grey": (encoded(IDS), IDS),
    "palette": (encoded(palette(IDS)), IDS),
    "palette with transparency": (encoded(palette(IDS), transparency=2), IDS),
    "palette of one colour": (encoded(palette(IDS, np.zeros(768))), IDS),
    "palette of 2 bits": (encoded(palette(FEW), bits=2), FEW),
    "one bit": (encoded(Image.fromarray(BINARY * 255).convert("1")), BINARY),
    "grey of 1 bit": (png(BINARY, 1), BINARY),
    "grey of 2 bits": (png(FEW, 2), FEW),
    "grey of 4 bits": (png(SOME, 4), SOME),
    "grey of 16 bits": (png(MANY, 16), MANY),
    "gamma": (png(IDS, 8, chunks=[GAMMA]), IDS),
    "a transparent grey": (png(IDS, 8, chunks=[TRANSPARENT]), IDS),
    "equal channels": (encoded(np.dstack([IDS] * 3)), IDS),
    "equal channels, opaque": (encoded(np.dstack([IDS] * 3 + [OPAQUE])), IDS),
    "grey with opacity": (encoded(np.dstack([IDS, OPAQUE])), IDS),
    "bmp": (encoded(IDS, "BMP"), IDS),
    "bmp of 1 bit": (encoded(Image.fromarray(BINARY * 255).convert("1"), "BMP"), BINARY),
    "pgm": (encoded(IDS, "PPM"), IDS),
    "tiff": (encoded(IDS, "TIFF", compression="tiff_lzw"), IDS),
    "tiff of 16 bits": (encoded(Image.fromarray(MANY), "TIFF"), MANY),
    "tiff of 32 bits": (encoded(Image.fromarray(MANY.astype(np.int32)), "TIFF"), MANY),
    "tiff of float": (encoded(Image.fromarray(MANY.astype(np.float32)), "TIFF"), MANY),
}


@pytest.mark.parametrize("kind", READ)
def test_kinds_with_one_reading(kind):
    data, ids = READ[kind]
    found = read_map(data, "m.png")
    assert np.array_equal(found, ids) and found.ndim == 2
    assert found.dtype == (np.uint8 if ids.dtype == np.uint8 else found.dtype)
    assert found.dtype in (np.uint8, np.uint16, np.int32)


HALF = np.where(IDS > 2, OPAQUE, 128)
NEGATIVE = Image.fromarray(np.array([[-1, 2]], np.int32))
FRACTION = Image.fromarray(np.array([[0.5, 2]], np.float32))
ENDLESS = Image.fromarray(np.array([[np.nan, 2]], np.float32))
EXIF = Image.Exif()
EXIF[0x0112] = 3
SEVERAL = dict(save_all=True, append_images=[Image.fromarray(255 - IDS)])
REFUSED = {
    "jpeg": (encoded(IDS, "JPEG"), "is a JPEG file, in which ids may have changed: save"),
    "webp": (encoded(np.dstack([IDS] * 3), "WEBP", lossless=True), "is a WEBP file"),
    "jpeg in tiff": (encoded(IDS, "TIFF", compression="jpeg"), "is a TIFF file, in which ids"),
    "colours": (encoded(palette(IDS).convert("RGB")), "holds colours .3 channels"),
    "colours, opaque": (encoded(palette(IDS).convert("RGBA")), "holds colours .4 channels"),
    "transparency": (encoded(np.dstack([IDS, HALF])), "is transparent in some pixels"),
    "16 bits of colour": (png(np.dstack([MANY] * 3), 16, 2), "has 16 bits in several channels"),
    "16 bits with opacity": (png(np.dstack([MANY] * 2), 16, 4), "has 16 bits in several channels"),
    "cmyk": (encoded(palette(IDS).convert("CMYK"), "TIFF"), r"is a colour image \(CMYK\)"),
    "white is zero": (tiff(Image.fromarray(IDS), _262=0), "stores 0 as white"),
    "negative": (encoded(NEGATIVE, "TIFF"), "holds -1, which is no id"),
    "fraction": (encoded(FRACTION, "TIFF"), "holds fractions"),
    "not a number": (encoded(ENDLESS, "TIFF"), "holds fractions or values that are not finite"),
    "gif": (encoded(palette(IDS), "GIF"), "is a GIF file, in which ids may have changed"),
    "pages": (encoded(IDS, "TIFF", **SEVERAL), "has several frames"),
    "animated png": (encoded(IDS, "PNG", **SEVERAL), "has several frames"),
    "exif": (encoded(IDS, exif=EXIF), "has Exif orientation 3"),
    "pgm with another maximum": (b"P5 2 1 9 \1\2", "is a Netpbm file"),
    "bitmap of black and white": (bitmap(BINARY), "is a bitmap .* only one bit would be read: sa"),
    "pbm": (encoded(Image.fromarray(BINARY * 255).convert("1"), "PPM"), "is a Netpbm file"),
    "empty": (b"", r"is empty \(0 bytes\): restore the map"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a pointer of Git"),
    "text": (b"<html>404</html>", r"is not a readable map \(16 bytes, cannot identify image"),
    "truncated": (encoded(np.random.RandomState(0).randint(9, size=(99, 99)).astype("u1"))[:-999],
                  "is not a readable map"),
    "truncated header": (encoded(IDS)[:20], "is not a readable map"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_kinds_without_one_reading(kind):
    data, message = REFUSED[kind]
    with pytest.raises(InputError, match=f"^a/m.png {message}") as caught:
        read_map(data, "a/m.png")
    assert str(caught.value).count(". ") == 0 and ": " in str(caught.value)


def test_files(tmp_path):
    (tmp_path / "m.png").write_bytes(READ["grey of 16 bits"][0])
    assert np.array_equal(read_map_file(tmp_path / "m.png"), MANY) and is_wide(tmp_path / "m.png")
    (tmp_path / "n.png").write_bytes(READ["grey"][0])
    assert not is_wide(tmp_path / "n.png") and not is_wide(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"gone\.png cannot be read \(No such file"):
        read_map_file(tmp_path / "gone.png")


@st.composite
def files(draw):
    """Bytes of small maps of any mode and format, whole, cut, changed, or of nothing at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    values = np.frombuffer(draw(st.binary(min_size=256, max_size=256)), np.uint8)
    mode = draw(st.sampled_from(["1", "L", "P", "LA", "RGB", "RGBA", "I;16", "I", "F", "CMYK"]))
    image = Image.new("L", size)
    image.putdata(values[: size[0] * size[1]].tolist())
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    format = draw(st.sampled_from(["PNG", "TIFF", "BMP", "GIF", "PPM", "JPEG", "WEBP", "TGA"]))
    buffer = io.BytesIO()
    try:
        image.save(buffer, format)
    except (OSError, ValueError, KeyError):
        image.convert("L").save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, 2 * len(data)))])


@fuzz_settings()
@given(files(), st.integers(1, 254), st.booleans())
def test_fuzzed_maps_are_labels_or_one_message(data, classes, reduced):
    try:
        ids = read_map(data, "a/m.png")
        assert ids.ndim == 2 and ids.dtype in (np.uint8, np.uint16, np.int32)
        assert not ids.size or ids.min() >= 0
        labels = to_labels(ids, classes, "a/m.png", reduced=reduced)
    except InputError as error:
        assert str(error).startswith("a/m.png ")
    else:
        assert labels.shape == ids.shape and labels.dtype == np.uint8
        ignored = np.isin(ids, [0, 255]) if reduced else ids == 255
        assert np.array_equal(labels, np.where(ignored, 255, ids.astype(int) - reduced))
        assert ((labels < classes) | ignored).all()
