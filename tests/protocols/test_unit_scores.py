"""Scores of each test image: files, names, and what the hook keeps of a test."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpretrain.evaluation import Accuracy, SingleLabelMetric
from mmpretrain.structures import DataSample
from mmseg.evaluation import IoUMetric

from bam_mm import InputError
from bam_mm.evaluation import UnitScores
from bam_mm.protocols import unit_scores_hook
from bam_mm.protocols.unit_scores import UnitTable, read_units, unit_names, write_units
from bam_mm.protocols.unit_scores_hook import UnitScoresHook


def test_names_do_not_depend_on_the_root():
    assert unit_names(["/a/b/cat/1.jpg", "/a/b/dog/1.jpg"]) == ("cat/1.jpg", "dog/1.jpg")
    assert unit_names(["s3://x/v/2.jpg", "s3://x/v/1.jpg"]) == ("2.jpg", "1.jpg")
    # A folder whose name begins like another one is another folder.
    assert unit_names(["d/cat/1.jpg", "d/cats/1.jpg", "d/2.jpg"]) == (
        "cat/1.jpg", "cats/1.jpg", "2.jpg",
    )  # fmt: skip
    assert unit_names(["d/1.jpg", "d/1.jpg", "d/2.jpg"]) == ("1.jpg", "1.jpg#2", "2.jpg")
    assert unit_names(["only/this.jpg"]) == ("this.jpg",)


def test_a_file_holds_the_table(tmp_path):
    areas = np.arange(6, dtype=np.uint32).reshape(3, 2)
    table = UnitTable("images", ("a", "ü/\udcff.jpg", "c"), {
        "top1": UnitScores(np.array([True, False, True]), scale=100),
        "davis/J&F": UnitScores(areas, areas + 1),
    })  # fmt: skip
    write_units(tmp_path / "u/units.npz", table)
    found = read_units(tmp_path / "u/units.npz")
    assert (found.kind, found.names) == (table.kind, table.names)
    assert {k: s.value for k, s in found.scores.items()} == {
        k: s.value for k, s in table.scores.items()
    }
    assert found.scores["top1"].correct.tolist() == [True, False, True]
    assert found.scores["davis/J&F"].correct is None
    content = (tmp_path / "u/units.npz").read_bytes()
    middle = len(content) // 2
    changed = content[:70] + bytes(8) + content[78:]
    for damaged in (b"", content[:middle], b"x" + content[1:], changed):
        (tmp_path / "u/units.npz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"units\.npz is damaged"):
            read_units(tmp_path / "u/units.npz")


def runner_of(work_dir, metrics, images):
    loop = SimpleNamespace(
        evaluator=SimpleNamespace(metrics=metrics),
        dataloader=SimpleNamespace(dataset=range(images)),
    )
    return SimpleNamespace(work_dir=str(work_dir), test_loop=loop)


def classified(paths, scores, labels):
    return [
        DataSample(metainfo={"img_path": path}).set_pred_score(score).set_gt_label(int(label))
        for path, score, label in zip(paths, scores, labels, strict=True)
    ]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_hook_keeps_what_the_accuracies_average(processes, tmp_path, monkeypatch):
    torch.manual_seed(0)
    scores, labels = torch.rand(40, 7), torch.arange(40) % 7
    paths = [f"/data/val/{label}/{i}.jpg" for i, label in enumerate(labels.tolist())]
    metrics = [Accuracy(topk=(1, 3)), SingleLabelMetric(items=("recall",), average="macro")]
    samples = classified(paths, scores, labels)
    for metric in metrics:
        metric.process(None, [sample.to_dict() for sample in samples])
    expected = {k: v for metric in metrics for k, v in metric.evaluate(40).items()}
    # Each process has every P-th image, and the sampler repeats the first ones at the end.
    padded = samples + samples[: -40 % processes]
    runner, parts = runner_of(tmp_path, metrics, 40), []
    for process in range(processes):
        hook = UnitScoresHook()
        hook.before_test(runner)
        mine = padded[process::processes]
        for number, first in enumerate(range(0, len(mine), 8)):
            hook.after_test_iter(runner, number, None, mine[first : first + 8])
        parts.append((hook.paths, hook.parts))
    monkeypatch.setattr(unit_scores_hook, "gather_objects", lambda part: parts)
    hook.after_test_epoch(runner, {})
    found = read_units(tmp_path / "units.npz")
    assert found.names == tuple(path.removeprefix("/data/val/") for path in paths)
    assert {k: s.value for k, s in found.scores.items()} == pytest.approx(expected, abs=1e-4)
    right = scores.argmax(dim=1) == labels
    assert found.scores["accuracy/top1"].correct.tolist() == right.tolist()


def test_the_hook_keeps_the_areas_of_miou(tmp_path):
    torch.manual_seed(0)
    metric = IoUMetric()
    metric.dataset_meta = {"classes": ["a", "b", "c", "d"]}
    runner, hook = runner_of(tmp_path, [metric], 5), UnitScoresHook()
    hook.before_test(runner)
    for first in (0, 2, 4):
        samples = []
        for number in range(first, min(first + 2, 5)):
            truth, guess = torch.randint(0, 3, (2, 1, 9, 9))  # The last class is nowhere.
            truth[0, 0, 0] = 255
            maps = {"gt_sem_seg": {"data": truth}, "pred_sem_seg": {"data": guess}}
            samples.append({**maps, "img_path": f"x/{number}.png"})
        metric.process(None, samples)
        hook.after_test_iter(runner, first, None, samples)
    hook.after_test_epoch(runner, {})
    found = read_units(tmp_path / "units.npz")
    expected = metric.evaluate(5)
    assert found.names == tuple(f"{number}.png" for number in range(5))
    assert expected.keys() == {"aAcc", "mIoU", "mAcc"} == found.scores.keys()
    assert {k: s.value for k, s in found.scores.items()} == pytest.approx(expected, abs=0.0051)


def test_other_predictions_leave_no_file_and_an_old_one_is_deleted(tmp_path):
    (tmp_path / "units.npz").write_bytes(b"of an earlier test")
    runner, hook = runner_of(tmp_path, [], 2), UnitScoresHook()
    hook.before_test(runner)
    hook.after_test_iter(runner, 0, None, [DataSample(), DataSample()])
    hook.after_test_epoch(runner, {})
    assert not (tmp_path / "units.npz").exists()
