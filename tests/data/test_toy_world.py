"""The toy world: deterministic bytes, correct geometry, no shortcut through colour."""

import hashlib
import json

import numpy as np
import pytest

from bam_mm import InputError
from bam_mm.data.toy import (
    CLASS_NAMES,
    CLASSES,
    Background,
    Scene,
    Thing,
    label_map,
    make_world,
    render,
)
from bam_mm.data.toy.image_folder import scenes

pytestmark = pytest.mark.slow


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def thing(**kw):
    values = dict(
        label=0, y=0.5, x=0.5, size=0.25, aspect=1.0, angle=0.0, light=1.0, dark=1.0, frequency=2.0,
        phase=(0.0, 0.0),
    )  # fmt: skip
    return Thing(**{**values, **kw})


BLACK = Background(level=0.0, slope=(0.0, 0.0), noise=0.0, seed=0)


def test_same_seed_same_bytes(tmp_path):
    first = make_world(tmp_path / "a", seed=3, scale=0.02)
    second = make_world(tmp_path / "b", seed=3, scale=0.02)
    other = make_world(tmp_path / "c", seed=4, scale=0.02)
    assert first == second
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    images = {k: v for k, v in digest(tmp_path / "a").items() if k.endswith((".jpg", "00.png"))}
    assert not set(images.values()) & set(digest(tmp_path / "c").values())
    assert other["seed"] == 4


def test_layout_and_counts(tmp_path):
    manifest = make_world(tmp_path / "w", seed=0, scale=0.02)
    assert manifest["written"]["images"] == {"train": 80, "val": 20}
    for split, count in (("train", 80), ("val", 20)):
        folders = sorted(p.name for p in (tmp_path / "w/images" / split).iterdir())
        assert folders == sorted(CLASS_NAMES) and len(folders) >= 8
        files = list((tmp_path / "w/images" / split).rglob("*.jpg"))
        assert len(files) == count
    assert json.loads((tmp_path / "w/world.json").read_text()) == manifest


def test_a_complete_world_is_kept_and_an_interrupted_one_is_written_again(tmp_path):
    world = tmp_path / "w"
    make_world(world, seed=0, scale=0.02)
    before = {p: p.stat().st_mtime_ns for p in world.rglob("*.jpg")}
    make_world(world, seed=0, scale=0.02)
    assert before == {p: p.stat().st_mtime_ns for p in world.rglob("*.jpg")}
    manifest = json.loads((world / "world.json").read_text())
    (world / "world.json").write_text(json.dumps({**manifest, "written": {}}))
    next(world.rglob("*.jpg")).unlink()
    make_world(world, seed=0, scale=0.02)
    assert len(list(world.rglob("*.jpg"))) == len(before)


def test_parts_are_written_one_by_one_with_the_same_bytes(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    manifest = make_world(whole, seed=2, scale=0.02)
    first = make_world(parts, seed=2, scale=0.02, only=("images",))
    assert set(first["written"]) == {"images"} and not (parts / "coco").exists()
    (parts / "coco").mkdir()
    (parts / "coco/left.txt").write_text("of an interrupted run")
    kept = {p: p.stat().st_mtime_ns for p in (parts / "images").rglob("*.jpg")}
    assert make_world(parts, seed=2, scale=0.02) == manifest
    assert kept == {p: p.stat().st_mtime_ns for p in (parts / "images").rglob("*.jpg")}
    assert digest(parts) == digest(whole)
    # Another seed replaces every part.
    assert set(make_world(parts, seed=3, scale=0.02, only=("davis",))["written"]) == {"davis"}
    assert not (parts / "images").exists()


def test_a_folder_with_other_files_remains_unchanged(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty and contains no toy world"):
        make_world(tmp_path, seed=0, scale=0.02)
    assert (tmp_path / "mine.txt").read_text() == "precious"
    with pytest.raises(InputError, match="--scale 0"):
        make_world(tmp_path / "x", scale=0)


def test_a_larger_world_starts_with_a_smaller_one():
    small = list(scenes("train", 10, seed=5))
    assert small == list(scenes("train", 40, seed=5))[:10]
    assert small != list(scenes("val", 10, seed=5))


def test_area_and_place_of_a_disk():
    disk = CLASSES.index(("disk", "plain"))
    _, ids = render(Scene(BLACK, (thing(label=disk, y=0.25, x=0.75),)), 200, 200)
    rows, columns = np.nonzero(ids)
    assert (ids > 0).sum() == pytest.approx(np.pi * 50**2, rel=0.01)
    assert rows.mean() == pytest.approx(0.25 * 200 - 0.5, abs=0.5)
    assert columns.mean() == pytest.approx(0.75 * 200 - 0.5, abs=0.5)


def test_the_front_thing_occludes_the_one_behind():
    square = CLASSES.index(("square", "stripes"))
    disk = CLASSES.index(("disk", "plain"))
    behind, front = thing(label=disk, size=0.4), thing(label=square, size=0.1)
    _, ids = render(Scene(BLACK, (behind, front)), 100, 100)
    assert ids[50, 50] == 2 and ids[50, 20] == 1 and ids[0, 0] == 0
    labels = label_map(Scene(BLACK, (behind, front)), ids)
    assert (labels[50, 50], labels[50, 20], labels[0, 0]) == (square + 1, disk + 1, 0)


def test_things_at_the_edge_are_cut_and_those_outside_are_absent():
    _, cut = render(Scene(BLACK, (thing(x=0.0),)), 64, 64)
    _, gone = render(Scene(BLACK, (thing(x=3.0),)), 64, 64)
    assert cut.any() and cut[:, 40:].sum() == 0
    assert not gone.any()


def test_rotation_by_a_right_angle_makes_horizontal_stripes_vertical():
    square = CLASSES.index(("square", "stripes"))
    flat, _ = render(Scene(BLACK, (thing(label=square, dark=0.0),)), 128, 128)
    upright, _ = render(Scene(BLACK, (thing(label=square, dark=0.0, angle=np.pi / 2),)), 128, 128)
    inner = slice(45, 83)
    assert flat[inner, inner].std(axis=0).mean() > 10 * flat[inner, inner].std(axis=1).mean()
    assert upright[inner, inner].std(axis=1).mean() > 10 * upright[inner, inner].std(axis=0).mean()


def test_images_are_grey_so_that_colour_carries_no_information():
    for _, scene in scenes("train", 16, seed=1):
        image, _ = render(scene, 64, 64)
        assert (image.min(axis=2) == image.max(axis=2)).all()
        assert image.std() > 8
