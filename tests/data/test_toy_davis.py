"""The toy world's videos."""

from dataclasses import replace
from hashlib import sha256

import numpy as np

from bam_mm import DAVISDataset
from bam_mm.data.indexed_png import voc_palette
from bam_mm.data.toy.davis import (
    FRAMES,
    GAIN,
    HEIGHT,
    LEAST_VISIBLE,
    OFFSET,
    WIDTH,
    clips,
    write_davis,
)
from bam_mm.data.toy.render import render
from bam_mm.data.toy.scene import Scene


def quiet(part, number):
    pass


def digest(root):
    paths = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): sha256(p.read_bytes()).hexdigest() for p in paths}


def test_same_seed_same_bytes_and_a_larger_world_starts_with_a_smaller_one(tmp_path):
    calls = []
    counts = write_davis(tmp_path / "a", seed=4, scale=0.15, progress=lambda *c: calls.append(c))
    assert counts == {"train": 2, "val": 2}
    assert calls == [("train", 1), ("train", 2), ("val", 1), ("val", 2)]
    write_davis(tmp_path / "b", seed=4, scale=0.3, progress=quiet)
    small, large = digest(tmp_path / "a"), digest(tmp_path / "b")
    lists = [name for name in small if name.endswith(".txt")]
    assert len(lists) == 2 and len(large) - len(small) == 2 * 2 * FRAMES
    assert all(large[name] == small[name] for name in small if name not in lists)
    write_davis(tmp_path / "c", seed=5, scale=0.15, progress=quiet)
    other = digest(tmp_path / "c")
    assert not [name for name in small if name not in lists and other[name] == small[name]]


def test_the_data_set_reads_written_videos(tmp_path):
    write_davis(tmp_path, seed=0, scale=0.15, progress=quiet)
    for split in ("train", "val"):
        data = DAVISDataset(str(tmp_path), split=split)
        assert len(data) == 2 and data.left_out == {}
        for video in data.videos:
            assert (len(video), video.size) == (FRAMES, (HEIGHT, WIDTH))
            assert video.palette() == voc_palette()
            truth = video.truth()
            ids = sorted(set(np.unique(truth[0])) - {0})
            assert ids == list(range(1, len(ids) + 1)) and 2 <= len(ids) <= 4
            assert set(np.unique(truth)) <= {0, *ids}


def test_things_are_visible_at_first_then_move_deform_and_hide_each_other():
    moved, resized, faded, hidden, counts = [], [], [], 0, set()
    for clip in clips("val", 12, seed=0):
        counts.add(len(clip.things))
        labels = [thing.label for thing in clip.things]
        assert len(set(labels)) == len(labels)
        assert clip.scene(0).things == clip.things
        for number in range(1, len(clip.things) + 1):
            shares = []
            for frame in (0, FRAMES // 2, FRAMES - 1):
                scene = clip.scene(frame)
                _, together = render(scene, HEIGHT, WIDTH)
                alone = Scene(scene.background, (scene.things[number - 1],))
                _, whole = render(alone, HEIGHT, WIDTH)
                shares.append((together == number).sum() / max(whole.sum(), 1))
            assert shares[0] >= LEAST_VISIBLE
            hidden += min(shares) < 0.9
        for before, after in zip(clip.things, clip.scene(FRAMES - 1).things, strict=True):
            moved.append(np.hypot(after.y - before.y, after.x - before.x))
        sizes = np.array([[t.size for t in clip.scene(f).things] for f in range(FRAMES)])
        resized.extend(sizes.max(0) / sizes.min(0))
        contrast = [[t.light - t.dark for t in clip.scene(f).things] for f in range(FRAMES)]
        faded.extend(1 - np.min(contrast, axis=0) / contrast[0])
        assert np.min(contrast) > 0
        assert all(
            0 <= t.y <= 1 and 0 <= t.x <= 1 for f in range(FRAMES) for t in clip.scene(f).things
        )
    assert counts == {2, 3, 4}
    assert np.median(moved) > 0.2  # of a frame
    assert np.median(resized) > 1.1
    assert np.median(faded) > 0.25
    assert hidden >= 6


def test_noise_is_new_in_every_frame():
    clip = replace(next(clips("val", 1, seed=0)), things=(), motions=())
    frames = [render(clip.scene(f), HEIGHT, WIDTH)[0][..., 0].astype(float) for f in (0, 1)]
    residual = [f - f.mean() for f in frames]
    smooth = [r - np.add.outer(r.mean(1), r.mean(0)) for r in residual]
    assert abs(np.corrcoef(smooth[0].ravel(), smooth[1].ravel())[0, 1]) < 0.05


def test_every_frame_has_its_own_exposure_which_does_not_change_its_annotation():
    clip = next(clips("val", 1, seed=0))
    gains, offsets = np.array([clip.exposure(f) for f in range(FRAMES)]).T
    assert len(set(gains)) == len(set(offsets)) == FRAMES
    assert gains.min() >= 1 - GAIN and gains.max() <= 1 + GAIN and np.ptp(gains) > GAIN
    assert abs(offsets).max() <= OFFSET and np.ptp(offsets) > OFFSET
    for f in (0, 5):
        image, ids = clip.frame(f)
        plain, same = render(clip.scene(f), HEIGHT, WIDTH)
        np.testing.assert_array_equal(ids, same)
        wanted = ((plain / 255 - 0.5) * gains[f] + 0.5 + offsets[f]) * 255
        inside = (wanted > 1) & (wanted < 254)
        assert inside.mean() > 0.5
        assert abs(image[inside] - wanted[inside]).max() <= 0.5
        assert set(np.unique(image[wanted < -1])) <= {0}
        assert set(np.unique(image[wanted > 256])) <= {255}
