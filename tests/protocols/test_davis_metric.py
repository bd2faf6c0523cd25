"""Scores, tables, submission and overlays of DAVIS videos."""

import csv

import numpy as np
import pytest
from PIL import Image

from bam_mm import DAVISDataset, InputError
from bam_mm.data.indexed_png import voc_palette, write_indexed
from bam_mm.evaluation import davis_j_and_f, davis_summary
from bam_mm.protocols.overlays import blend
from bam_mm.protocols.unit_scores import read_units
from bam_mm.registry import METRICS
from tests.data.video_tree import read_indexed
from tests.models.davis_stubs import write_videos

SETTINGS = ((5, 7), (3, 7), (5, 1))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_videos(tmp_path_factory.mktemp("videos"), count=3, frames=6)
    for path in sorted((root / "Annotations/480p/v1").iterdir()):
        # An unusual palette, which has to be kept.
        write_indexed(path, read_indexed(path)[0], voc_palette()[::-1])
    return root


@pytest.fixture(scope="module")
def samples(root):
    rng = np.random.default_rng(0)
    made = []
    for video in DAVISDataset(str(root)).videos:
        truth, predictions = video.truth(), {}
        for number, setting in enumerate(SETTINGS, start=1):
            wrong = rng.random(truth.shape) < 0.02 * number
            ids = rng.integers(0, truth.max() + 1, truth.shape)
            predictions[setting] = np.where(wrong, ids, truth).astype(np.uint8)
        made.append({"video": video, "predictions": predictions, "seconds": 1.0, "fault": None})
    return made


def evaluate(samples, meta=None, **kwargs):
    metric = METRICS.build(dict(type="bam_mm.DAVISMetric", **kwargs))
    metric.dataset_meta = meta or {"left_out": {}}
    for sample in samples:
        metric.process(None, [sample])
    return metric.evaluate(len(samples))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_and_tables_match_the_pure_functions(samples, tmp_path, capsys):
    metrics = evaluate(samples, out_dir=str(tmp_path), overlays=0)
    expected = {
        s: [davis_j_and_f(x["video"].truth(), x["predictions"][s]) for x in samples]
        for s in SETTINGS
    }
    table = rows(tmp_path / "global.csv")
    per_sequence, per_object = (
        rows(tmp_path / "per_sequence.csv"),
        rows(tmp_path / "per_object.csv"),
    )
    for i, s in enumerate(SETTINGS):
        summary = davis_summary(o for objects in expected[s] for o in objects)
        assert (table[i]["topk"], table[i]["n_last_frames"]) == (str(s[0]), str(s[1]))
        for name, value in summary.items():
            assert metrics[f"davis/k{s[0]}_n{s[1]}/{name}"] == pytest.approx(value, abs=1e-12)
            assert float(table[i][name]) == pytest.approx(value, abs=5e-7)
            if i == 0:
                assert metrics[f"davis/{name}"] == pytest.approx(value, abs=1e-12)
    # The videos' sums give the first setting's scores, with every object counted once.
    units = read_units(tmp_path / "units.npz")
    assert units.kind == "videos" and units.names == ("v0", "v1", "v2")
    assert {k: s.value for k, s in units.scores.items()} == pytest.approx(
        {f"davis/{name}": metrics[f"davis/{name}"] for name in summary}
    )
    assert units.scores["davis/J&F"].denominators.tolist() == [
        len(davis_j_and_f(x["video"].truth(), x["predictions"][5, 7])) for x in samples
    ]
    one = next(
        r
        for r in per_sequence
        if (r["topk"], r["n_last_frames"], r["sequence"]) == ("5", "1", "v2")
    )
    assert float(one["F_decay"]) == pytest.approx(
        np.mean([o["F_decay"] for o in expected[5, 1][2]]), abs=5e-7
    )
    assert len(per_sequence) == 9
    assert len(per_object) == 3 * sum(len(objects) for objects in expected[5, 7])
    assert metrics["davis/left_out"] == 0 and metrics["davis/videos"] == 3
    printed = capsys.readouterr().out
    assert f"{100 * metrics['davis/J&F']:.1f}" in printed and "v2" in printed


def test_order_of_videos_and_number_of_threads_do_not_matter(samples, tmp_path):
    one = evaluate(samples, out_dir=str(tmp_path / "a"), workers=1)
    two = evaluate(samples[::-1], out_dir=str(tmp_path / "b"), workers=5)
    assert one == two
    files = sorted(
        p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()
    )
    assert len(files) == 4 + 3 * 3 * 6 + 2 * 2
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_submission_keeps_ids_and_palette(samples, tmp_path):
    evaluate(samples, out_dir=str(tmp_path), overlays=0)
    for sample in samples:
        palette = sample["video"].palette()
        for (k, n), ids in sample["predictions"].items():
            folder = tmp_path / f"k{k}_n{n}" / sample["video"].name
            assert [p.name for p in sorted(folder.iterdir())] == [f"{t:05d}.png" for t in range(6)]
            for t in range(6):
                stored, colours = read_indexed(folder / f"{t:05d}.png")
                np.testing.assert_array_equal(stored, ids[t])
                assert colours == palette
    assert samples[1]["video"].palette() != voc_palette()


def test_faulty_videos_are_counted_and_the_others_scored(samples):
    bad = {**samples[0], "predictions": {}, "fault": "video v0: broken; fix it"}
    metrics = evaluate([bad, *samples[1:]], meta={"left_out": {"v9": "video v9: gone"}})
    assert metrics["davis/left_out"] == 2 and metrics["davis/videos"] == 2
    assert metrics["davis/J&F"] == pytest.approx(evaluate(samples[1:])["davis/J&F"], abs=1e-12)
    with pytest.raises(InputError, match="none of 1 videos could be used; the first: video v0"):
        evaluate([bad])


def test_without_annotations_there_are_masks_but_no_scores(root, samples, tmp_path):
    video = DAVISDataset(str(root), annotated="first")[0]["video"]
    metrics = evaluate([{**samples[0], "video": video}], out_dir=str(tmp_path))
    assert metrics == {"davis/videos": 1, "davis/left_out": 0}
    assert len(list((tmp_path / "k5_n7/v0").iterdir())) == 6
    assert not (tmp_path / "global.csv").exists()


def test_overlays_of_the_first_videos(samples, tmp_path):
    evaluate(samples, out_dir=str(tmp_path), save_png=False, overlays=2)
    assert {p.name for p in (tmp_path / "overlays").iterdir()} == {
        f"v{i}_k5_n7.{ending}" for i in (0, 1) for ending in ("png", "gif")
    }
    with Image.open(tmp_path / "overlays/v0_k5_n7.gif") as gif:
        assert gif.n_frames == 6 and gif.size == (320, 192)
    with Image.open(tmp_path / "overlays/v0_k5_n7.png") as strip:
        assert strip.size == (6 * 240 + 5 * 2, 144)


def test_blend_paints_objects_and_keeps_the_background():
    frame = np.full((20, 30, 3), 100, np.uint8)
    ids = np.zeros((20, 30), np.uint8)
    ids[5:15, 5:15] = 2  # dark green in the palette
    image = blend(frame, ids, voc_palette(), width=30)
    assert image.shape == (20, 30, 3)
    assert (image[10, 10] == (50, 114, 50)).all()  # halfway between 100 and (0, 128, 0)
    assert (image[5, 8] == (128, 192, 128)).all()  # the outline: halfway to white
    outside = ids == 0
    assert (image[outside] == 100).all()


def test_wrong_options():
    with pytest.raises(InputError, match="workers=0"):
        METRICS.build(dict(type="bam_mm.DAVISMetric", workers=0))
