"""Reference curves: what is made of runs, what a file holds, and where another run stands."""

import json

import pytest

from bam_mm import InputError
from bam_mm.figures import against_references
from bam_mm.figures.against_references import compare, plot_against
from bam_mm.figures.recorded_runs import read_run, reference_of
from bam_mm.hooks import reference_curves
from bam_mm.hooks.reference_curves import Band, read_reference, reference_names, write_reference
from tests.figures.work_folders import work_folder


@pytest.fixture
def three(tmp_path):
    """Three runs whose loss is 1, 2 and 6 at all iterations, and whose spread grows with them."""
    folders = [
        work_folder(
            tmp_path / f"seed{seed}",
            {
                "loss": lambda step, level=level: float(level),
                "feature_std": lambda step, level=level: level * step / 20,
                "knn/teacher_top1": {0: 10.0, 10: 20.0 + level, 20: 30.0 + 2 * level},
            },
            seed=seed,
        )
        for seed, level in enumerate((1, 2, 6))
    ]
    return [read_run(folder) for folder in folders]


def test_mean_and_range_over_the_seeds_by_epoch(three):
    curves = reference_of(three)
    loss, spread = curves.series["loss"], curves.series["feature_std"]
    assert loss.epoch == pytest.approx([0.2 * n for n in range(1, 11)])  # 10 iterations an epoch
    assert {*loss.mean} == {3.0} and {*loss.low} == {1.0} and {*loss.high} == {6.0}
    assert spread.at(2.0) == pytest.approx((3.0, 1.0, 6.0))
    assert spread.at(0.3) == pytest.approx((0.45, 0.15, 0.9))  # between two points
    assert spread.at(0.1) is None and spread.at(2.1) is None
    knn = curves.series["knn/teacher_top1"]
    assert (knn.epoch, knn.low, knn.high) == ((0, 1, 2), (10, 21, 32), (10, 26, 42))
    assert (curves.seeds, curves.images, curves.batch, curves.iterations) == (3, 640, 64, 10)
    assert (curves.method, curves.config, curves.epochs) == ("BAM", "bam_tiny_toy", 2)
    assert (curves.dataset, curves.hardware) == ("data/toy/images", "1 x CPU")
    assert curves.title == "bam_tiny_toy on data/toy/images, 3 seeds"
    assert {*curves.versions} == {"bam-mm", "torch"}


def test_the_config_of_a_run_of_a_suite_is_the_one_that_it_comes_from(three):
    plan = three[0].folder / "plan.json"
    plan.write_text('{"config": "bam_short", "starts": 1}')
    assert reference_of(three).config == "bam_short"
    for other in ('{"starts": 1}', "[1]", '{"con'):  # Earlier versions, and files of others.
        plan.write_text(other)
        assert reference_of(three).config == "bam_tiny_toy"


def heads(curves):
    return {key: value for key, value in vars(curves).items() if key != "series"}


def test_a_file_keeps_the_curves_to_five_digits_and_stays_small(three, tmp_path):
    curves = reference_of(three, title="Ours", dataset="toy")
    path = write_reference(curves, tmp_path / "new/toy.json")
    read = read_reference(str(path))
    assert heads(read) == heads(curves) and read.title == "Ours"
    for name, band in curves.series.items():
        for key, row in vars(band).items():
            assert getattr(read.series[name], key) == pytest.approx(row, rel=5e-5)
    # Nothing is lost a second time.
    again = write_reference(read, tmp_path / "again.json")
    assert again.read_bytes() == path.read_bytes() and read_reference(again) == read
    # A long training: 6 quantities of 2,000 noisy values.
    values = {name: lambda step: (step * 7919 % 1000) / 997 for name in reference_curves.QUANTITIES}
    run = read_run(work_folder(tmp_path / "long", values, iterations=2000, images=128_000))
    long = reference_of([run])
    assert {len(band.epoch) for band in long.series.values()} == {100}
    path = write_reference(long, tmp_path / "long.json")
    assert path.stat().st_size < 30_000
    for name, band in read_reference(path).series.items():
        assert band.mean == pytest.approx(long.series[name].mean, rel=5e-5)
        assert band.epoch == pytest.approx(long.series[name].epoch, abs=1e-6)


def test_many_points_of_the_loss_are_averaged_and_those_of_knn_chosen(tmp_path):
    every = {step: float(step) for step in range(1, 301)}
    some = {step: float(step) for step in range(1, 61)}
    values = {"loss": every, "feature_std": some, "knn/teacher_top1": every}
    run = read_run(work_folder(tmp_path / "run", values, iterations=150))
    loss, spread, knn = reference_of([run]).series.values()
    # Three points in each of the 100 bins.
    assert loss.mean == tuple(range(2, 300, 3))
    assert loss.epoch == pytest.approx([step / 150 for step in range(2, 300, 3)])
    assert spread.mean == tuple(range(2, 60, 3))
    assert len(knn.epoch) == 100 and knn.mean[0] == 1 and knn.mean[-1] == 300
    assert knn.epoch == pytest.approx([value / 150 for value in knn.mean])


def test_only_iterations_that_all_seeds_logged_count(tmp_path):
    runs = [
        read_run(work_folder(tmp_path / str(seed), {"loss": points}, seed=seed))
        for seed, points in enumerate(({2: 1.0, 4: 2.0, 6: 3.0}, {4: 4.0, 6: 5.0, 8: 9.0}))
    ]
    assert reference_of(runs).series["loss"] == Band((0.4, 0.6), (3, 4), (2, 3), (4, 5))


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (dict(seed=1, temperature=0.2), "model.head.temperature: 0.1 -> 0.2"),
        (dict(seed=1, epochs=4), "epochs: 2 -> 4"),
        (dict(seed=1, batch=32, iterations=20), "batch: 64 -> 32; iterations: 10 -> 20"),
        (dict(seed=0), "have the same randomness.seed=0"),
        (dict(seed=1, ended=False), "b holds no finished training"),
    ],
)
def test_runs_that_are_not_seeds_of_one_config(second, words, tmp_path):
    values = {"loss": float}
    folders = work_folder(tmp_path / "a", values), work_folder(tmp_path / "b", values, **second)
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        reference_of([read_run(folder) for folder in folders])


def test_folders_without_epochs(tmp_path):
    work_folder(tmp_path / "iterations", {"loss": float}, by_epoch=False)
    with pytest.raises(InputError, match="holds a training that counts iterations, not epochs"):
        read_run(tmp_path / "iterations")
    work_folder(tmp_path / "started", {"loss": float})
    (tmp_path / "started/20260101_000000/20260101_000000.log").write_text("INFO - config: a.py\n")
    with pytest.raises(InputError, match=r"contains no log .* with a line of a training"):
        read_run(tmp_path / "started")


def test_a_resumed_run_takes_its_newest_log(tmp_path):
    folder = work_folder(tmp_path / "run", {"loss": float}, iterations=10)
    newer = folder / "20260202_000000"
    newer.mkdir()
    (newer / "20260202_000000.log").write_text("Epoch(train)  [  3][  50/1234]  loss: 1\n")
    assert read_run(folder).iterations == 1234


def test_runs_of_another_batch_size_align_by_epoch(three, tmp_path):
    """The same curve over epochs, with half the batch, so twice the iterations."""
    reference = reference_of(three)
    values = {
        "feature_std": lambda step: 3 * step / 40,
        "loss": lambda step: 3.5,
        "knn/teacher_top1": {0: 10.0, 20: 30.0},
    }
    run = read_run(
        work_folder(tmp_path / "half", values, iterations=20, batch=32, epochs=3, ended=False)
    )
    assert run.epochs_of("feature_std")[-1] == (2.0, 3.0)
    lines = compare(run, "toy", reference)
    assert lines[0] == "half against toy (bam_tiny_toy on data/toy/images, 3 seeds):"
    assert lines[1] == "  loss (nats): 3.5 at epoch 2, reference 1 to 6: inside"
    # Mean over the last interval of the reference: epochs 1.9 and 2.
    assert lines[2] == (
        "  feature std (1 = spread evenly): 2.925 at epoch 2, reference 0.975 to 5.85: inside"
    )
    assert lines[3] == "  kNN top-1, teacher (%): 30 at epoch 1, reference 21 to 26: above by 4"
    assert "32 images an iteration, reference 64: loss and entropies depend" in lines[4]
    assert "a training of 3 epochs, reference 2" in lines[5] and len(lines) == 6


def test_positions_at_and_beyond_the_ends(three, tmp_path):
    reference = reference_of(three[:1])
    values = {"loss": {1: 9.0}, "feature_std": {10: 0.4, 30: 5.0}}
    lines = compare(read_run(work_folder(tmp_path / "run", values)), "one", reference)
    assert lines[1].endswith("no point between epochs 0.2 and 2, where the reference has values")
    assert lines[2].endswith(
        "0.4 at epoch 1, the end of the reference, reference 0.5 (one seed): below by 0.1 (20.0 %)"
    )
    assert lines[3].endswith("not logged yet")


def test_the_figure_needs_something_to_draw(three, tmp_path):
    reference = {"toy": reference_of(three)}
    assert plot_against(three[:1], reference, tmp_path / "a.png").stat().st_size > 10_000
    with pytest.raises(InputError, match="--until 0: the runs have no point until then"):
        folder = work_folder(tmp_path / "late", {"loss": float})
        plot_against([read_run(folder)], reference, tmp_path / "b.png", until=0)
    folder = work_folder(tmp_path / "other", {"accuracy": float})
    with pytest.raises(InputError, match="nothing logged that the references toy hold"):
        plot_against([read_run(folder)], reference, tmp_path / "b.png")


@pytest.mark.parametrize(
    ("run", "reference", "panels"),
    [
        ("student", "student", ["student"]),
        ("both", "both", ["teacher"]),
        # Only the student's is in the run and in the reference.
        ("both", "student", ["student"]),
        ("student", "both", ["student"]),
    ],
)
def test_the_panels_of_knn(run, reference, panels, tmp_path, monkeypatch):
    titles = []

    def save(figure, out):
        titles.extend(axis.get_title() for axis in figure.axes)

    monkeypatch.setattr(against_references, "save_figure", save)
    student = {"knn/student_top1": {10: 20.0, 20: 30.0}}
    values = {"student": student, "both": {**student, "knn/teacher_top1": {10: 21.0, 20: 31.0}}}
    curves = reference_of([read_run(work_folder(tmp_path / "reference", values[reference]))])
    assert {*curves.series} == {*values[reference]}
    runs = [read_run(work_folder(tmp_path / "run", values[run]))]
    plot_against(runs, {"it": curves}, tmp_path / "a.png")
    assert titles == [f"kNN top-1, {panel} (%)" for panel in panels]
    _, *lines = compare(runs[0], "it", curves)
    assert any("kNN top-1, student (%): 30 at epoch 2" in line for line in lines)


@pytest.mark.parametrize(
    "text",
    ['{"processes": 1', "[1]", '{"loaders": 3}', '{"loaders": {"train": {"batch": "64"}}}', "\xff"],
)
def test_a_damaged_record_of_a_finished_run(text, tmp_path):
    folder = work_folder(tmp_path / "run", {"loss": float})
    (folder / "train_facts.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"train_facts\.json: not the facts .* or delete it"):
        read_run(folder)
    (folder / "train_facts.json").unlink()
    assert read_run(folder).batch == 64


GOOD = dict(
    format=1, title="t", method="BAM", config="c", dataset="d", images=9, batch=3, epochs=1,
    iterations=3, seeds=1, versions={}, hardware="1 x CPU",
    series={"loss": {"epoch": [0.5, 1], "mean": [2, 1], "low": [1, 1], "high": [3, 1]}},
)  # fmt: skip


def series(**changes):
    return {"series": {"loss": {**GOOD["series"]["loss"], **changes}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(format=2), "format=2, but this version reads 1"),
        (dict(title=3), "title=3 is no text"),
        (dict(seeds=0), "seeds=0 is no integer of at least 1"),
        (dict(batch=True), "batch=True is no integer"),
        (dict(series={}), "series is empty"),
        (dict(series={"los": {}}), "series has 'los', but knows loss, attention_entropy"),
        (dict(series={"loss": {"mean": [1]}}), "series.loss must hold epoch, mean, low, high"),
        (series(low=[1]), r"different numbers of values, or none \(epoch 2, mean 2, low 1"),
        (series(epoch=[1, 1]), "series.loss.epoch does not ascend"),
        (series(low=[2.5, 1]), "at epoch 0.5: mean 2.0 is not between 2.5 and 3.0"),
        (series(mean=[float("nan"), 1]), "series.loss.mean holds nan, which is not finite"),
        (series(mean=["2", 1]), "series.loss.mean holds '2', which is no number"),
        (series(mean=[10**400, 1]), "too large"),
        (series(mean="21"), "series.loss.mean is no list"),
    ],
)
def test_a_damaged_file(changes, words, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD))
    assert read_reference(path).series["loss"].at(0.75) == (1.5, 1.0, 2.0)
    path.write_text(json.dumps({**GOOD, **changes}))
    with pytest.raises(InputError, match=f"a.json: .*{words}"):
        read_reference(path)


def test_files_that_are_not_json_or_lack_a_field(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"a\.json: no JSON"):
        read_reference(path)
    path.write_text(json.dumps({key: GOOD[key] for key in GOOD if key not in ("seeds", "epochs")}))
    with pytest.raises(InputError, match="lacks epochs, seeds"):
        read_reference(path)
    with pytest.raises(InputError, match=r"missing\.json: no such file; check the path"):
        read_reference("missing.json")


def test_names_in_the_package(three, tmp_path, monkeypatch):
    assert reference_curves.REFERENCES.name == "reference_curves"
    assert (reference_curves.REFERENCES / "README.md").is_file()
    monkeypatch.setattr(reference_curves, "REFERENCES", tmp_path / "package")
    with pytest.raises(InputError, match="'bam_toy': the package has none yet; pass the path"):
        read_reference("bam_toy")
    curves = reference_of(three)
    for name in ("bam_toy", "simclr_cifar10"):
        assert write_reference(curves, name) == tmp_path / f"package/{name}.json"
    assert reference_names() == ["bam_toy", "simclr_cifar10"]
    assert heads(read_reference("bam_toy")) == heads(curves)
    with pytest.raises(InputError, match="'bam_toi' do not exist: did you mean bam_toy"):
        read_reference("bam_toi")
    with pytest.raises(InputError, match="'vos' do not exist: The package has bam_toy, simclr"):
        read_reference("vos")
    with pytest.raises(InputError, match=r"'\.\./secret': neither the path of a \.json file nor"):
        read_reference("../secret")


def test_every_file_of_the_package_is_valid_and_small():
    paths = [*reference_curves.REFERENCES.iterdir()]
    assert {path.suffix for path in paths} <= {".json", ".md"}
    for name in reference_names():
        assert read_reference(name).series
        assert (reference_curves.REFERENCES / f"{name}.json").stat().st_size < 30_000
