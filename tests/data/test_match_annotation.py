"""Photographs that Exif turns: the pixels that their annotation belongs to, or one message."""

import struct
import zlib

import cv2
import mmcv
import numpy as np
import pytest
from mmcv.transforms import Compose, LoadImageFromFile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bam_mm import InputError
from bam_mm.data import MatchAnnotation
from bam_mm.data.decoding import decode_image
from bam_mm.data.map_files import read_map_file
from bam_mm.data.match_annotation import as_evaluated
from bam_mm.data.object_ids import first_ids
from bam_mm.data.orientation import read_header
from tests.data.annotated import encoded, photograph

ACROSS = (5, 6, 7, 8)


def entry(folder, orientation, annotated, kind="coco", size=(6, 8), format="JPEG"):
    """Write a photograph and return its entry in a data set, annotated for a size (H, W)."""
    path = folder / f"photo.{format.lower()}"
    path.write_bytes(photograph(size, orientation, format))
    info = dict(img_path=str(path))
    if kind == "coco":
        info.update(height=annotated[0], width=annotated[1], instances=[])
    else:
        (folder / "map.png").write_bytes(encoded(np.zeros(annotated, np.uint8)))
        info.update(seg_map_path=str(folder / "map.png"))
    return info


def load(info, **settings):
    return Compose([LoadImageFromFile(), MatchAnnotation(**settings)])(dict(info))


def pixels(info):
    """Return the stored and the upright pixels, by OpenCV."""
    data = np.fromfile(info["img_path"], np.uint8)
    stored = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return stored, cv2.imdecode(data, cv2.IMREAD_COLOR)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_headers_have_the_sizes_of_the_pixels(orientation, tmp_path):
    for format in ("JPEG", "PNG"):
        info = entry(tmp_path, orientation, (1, 1), format=format)
        stored, upright = pixels(info)
        header = read_header(info["img_path"])
        assert header.orientation == orientation and header.format == format
        assert (header.stored, header.upright) == (stored.shape[:2], upright.shape[:2])
    assert read_header(tmp_path / "gone.jpg") is None


@pytest.mark.parametrize("kind", ["coco", "map"])
@pytest.mark.parametrize("orientation", ACROSS)
def test_sizes_tell_which_pixels_are_annotated(orientation, kind, tmp_path):
    for annotated, wanted in (((6, 8), 0), ((8, 6), 1)):
        info = entry(tmp_path, orientation, annotated, kind)
        for choice in ("auto", "stored", "upright"):
            found = load(info, orientation=choice)
            assert np.array_equal(found["img"], pixels(info)[wanted])
            assert found["img_shape"] == found["ori_shape"] == annotated


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation, size", [(2, (6, 8)), (3, (6, 8)), (4, (6, 8)), (5, (8, 8)),
                                               (6, (8, 8)), (7, (8, 8)), (8, (8, 8))])  # fmt: skip
def test_where_sizes_do_not_tell_the_option_decides(orientation, size, format, tmp_path):
    info = entry(tmp_path, orientation, size, size=size, format=format)
    with pytest.raises(
        InputError,
        match=rf"photo\.\w+ has Exif orientation {orientation}, and its size does not tell whether "
        r"its entry in the annotation file .* as stored or as turned upright: set --cfg-options "
        "orientation=stored or orientation=upright",
    ):
        load(info)
    stored, upright = pixels(info)
    assert not np.array_equal(stored, upright)
    assert np.array_equal(load(info, orientation="stored")["img"], stored)
    assert np.array_equal(load(info, orientation="upright")["img"], upright)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("annotated, text", [((3, 4), "4x3"), ((12, 16), "16x12"),
                                             ((6, 9), "9x6"), ((7, 8), "8x7")])  # fmt: skip
def test_other_sizes_stop(annotated, text, orientation, tmp_path):
    info = entry(tmp_path, orientation, annotated)
    shown = "6x8" if orientation == 6 else "8x6"
    with pytest.raises(
        InputError, match=rf"photo\.jpeg has {shown} px, but its entry .* {text} px"
    ):
        load(info, orientation="upright")


def test_swapped_sides_are_named(tmp_path):
    info = entry(tmp_path, 1, (8, 6))
    with pytest.raises(InputError, match=r"has 8x6 px, .* is for 6x8 px \(the sides are swapped\)"):
        load(info)


def test_a_map_that_cannot_be_read_is_named_itself(tmp_path):
    info = entry(tmp_path, 6, (6, 8), "map")
    (tmp_path / "map.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"map\.png is empty"):
        load(info)


def test_images_without_annotation_stay_upright(tmp_path):
    info = entry(tmp_path, 3, (6, 8))
    for given in (dict(img_path=info["img_path"]), dict(info, img_path=info["img_path"])):
        for key in ("height", "width", "instances"):
            given.pop(key, None)
        assert np.array_equal(load(given)["img"], pixels(info)[1])
    array = np.zeros((4, 5, 3), np.uint8)
    assert MatchAnnotation()(dict(img=array, img_path=None))["img"] is array
    with pytest.raises(InputError, match="orientation='turned': choose one of auto, stored, upri"):
        MatchAnnotation("turned")


def test_pictures_show_the_pixels_that_were_evaluated(tmp_path):
    info = entry(tmp_path, 6, (6, 8))
    stored, upright = pixels(info)
    steps = {"MatchAnnotation": MatchAnnotation()}
    shown = as_evaluated(upright, info["img_path"], (6, 8), steps)
    assert np.array_equal(shown, stored)
    assert as_evaluated(upright, info["img_path"], (8, 6), steps) is upright
    assert as_evaluated(upright, info["img_path"], (6, 8), {}) is upright
    assert np.array_equal(upright, mmcv.imread(info["img_path"]))


XMP = b'<x:xmpmeta xmlns:tiff="t" tiff:Orientation="6"></x:xmpmeta>'


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", ["none", "another tag", "as text"])
def test_headers_and_pixels_have_the_same_orientation(format, exif, tmp_path):
    """Loaders ignore XMP, and numbers that are stored as another type than Exif's."""
    tags = Image.Exif()
    if exif == "another tag":
        tags[0x0110] = "camera"
    settings = {} if exif == "none" else dict(exif=tags.tobytes())
    if exif == "as text":
        entry = struct.pack("<HHHI4sI", 1, 0x0112, 2, 2, b"6\0\0\0", 0)
        settings = dict(exif=b"Exif\0\0II*\0\x08\0\0\0" + entry)
    if format == "PNG":
        settings["pnginfo"] = PngInfo()
        settings["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    else:
        settings["xmp"] = XMP
    data = encoded(np.zeros((6, 8, 3), np.uint8), format, **settings)
    (tmp_path / "a").write_bytes(data)
    assert read_header(tmp_path / "a").upright == decode_image(data, "a").shape[:2] == (6, 8)


def test_an_animation_is_not_turned_by_its_xmp(monkeypatch):
    monkeypatch.setattr("bam_mm.data.decoding.cv2.imdecode", lambda *_: None)
    image = np.zeros((6, 8, 3), np.uint8)
    exif = Image.Exif()
    assert decode_image(encoded(image, "WEBP", xmp=XMP), "a").shape[:2] == (6, 8)
    exif[0x0112] = 6
    assert decode_image(encoded(image, "WEBP", exif=exif), "a").shape[:2] == (8, 6)


def test_headers_of_images_beyond_the_limit_of_pillow(tmp_path):
    """An aerial image of 195 megapixels, of which only the header is read."""
    data = bytearray(photograph(orientation=3, format="PNG"))
    data[16:24] = struct.pack(">II", 15000, 13000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "a.png").write_bytes(data)
    header = read_header(tmp_path / "a.png")
    assert (header.stored, header.orientation) == ((13000, 15000), 3)


def test_a_limit_of_the_program_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    map_ = np.array([[0, 1, 2, 3]] * 6, np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(map_))
    np.testing.assert_array_equal(read_map_file(path), map_)
    np.testing.assert_array_equal(first_ids(path)[0], map_)
    assert Image.MAX_IMAGE_PIXELS == 7
