"""Options and settings of the benchmark that are checked before the first run."""

import pytest
from mmengine.logging import MMLogger

from bam_mm import InputError
from bam_mm.cli.benchmark_commands import parse_options
from bam_mm.launch.config import load_config
from bam_mm.suite import options as module
from bam_mm.suite.definitions import load_suite
from bam_mm.suite.models import read_models
from bam_mm.suite.options import OptionSharing
from bam_mm.suite.planning import Settings, check_any_data, plan

TASKS = [(task, ["vit" if "vit" in task.config else "any"]) for task in load_suite("toy").tasks]
TASKS = [pair for pair in TASKS if pair[0].name in ("knn", "linear")]


def by_task(pairs, options):
    sharing = OptionSharing(options)
    shared = {task.name: sharing.of_task(task, families) for task, families in pairs}
    sharing.report()
    return shared


@pytest.fixture(autouse=True)
def quiet():
    MMLogger.get_instance("benchmark", log_level="WARNING")


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["knn:test_cfg.kk=[5]"],
            r"task knn: --cfg-options test_cfg\.kk=.*did you mean test_cfg\.k",
        ),
        (["tets_cfg.k=5"], "task knn: .*did you mean test_cfg"),
        (["linear:lrr=1"], "task linear: .*'lrr' is no setting at the top"),
        (["knn:data_root="], "there is no value after '='"),
        (["knn:test_cfg.k"], r"knn:test_cfg\.k: expected KEY=VALUE"),
    ],
)
def test_what_no_task_uses_stops(words, message):
    with pytest.raises(InputError, match=message):
        by_task(TASKS, parse_options(words))


def test_an_option_for_all_tasks_reaches_those_that_have_it(monkeypatch):
    lines = []
    monkeypatch.setattr(module, "print_log", lambda text, **_: lines.append(text))
    given = parse_options(["lr=0.3", "test_dataloader.batch_size=7", "knn:test_cfg.k=[5, 10]"])
    shared = by_task(TASKS, given)
    assert shared["linear"] == {"lr": "0.3", "test_dataloader.batch_size": "7"}
    assert shared["knn"] == {"test_dataloader.batch_size": "7", "test_cfg.k": "[5, 10]"}
    assert lines == ["--cfg-options lr: the tasks knn have no such setting and run without it"]


def test_limits_and_data_are_checked_before_the_first_run(tmp_path):
    suite, models = load_suite("toy"), read_models(["random:vit-toy-p8"])
    knn = suite.choose(["knn"])
    for limit in (0, -5):
        with pytest.raises(InputError, match=f"--limit {limit}: must be at least 1"):
            plan(suite, knn, models, [0], Settings(tmp_path, limit=limit))
    for name, message in (("none", "the folder is missing"), ("empty", "there is no data in")):
        if name == "empty":
            (tmp_path / "empty/toy/images").mkdir(parents=True)
        runs = plan(suite, knn, models, [0], Settings(tmp_path, data=tmp_path / name))
        with pytest.raises(InputError, match=f"{name}: {message}.*toy/images; pass .*toy-world"):
            check_any_data(runs)
    (tmp_path / "empty/toy/images/train").mkdir()
    check_any_data(runs)


def test_names_in_any_script_have_a_folder():
    names = ["模型", "Modèle_1", "../../x", "<b>"]
    models = read_models([f"{name}=random:vit-toy-p8" for name in names])
    assert [model.slug for model in models] == ["模型", "Modèle-1", "x", "b"]


@pytest.mark.slow
def test_a_size_moves_the_images_of_one_model_in_all_tasks_with_classes(tmp_path):
    suite = load_suite("cifar10")
    specs = ["small=random:resnet18-w16", "vit=random:vit-small-p16", "large=random:resnet18-w16"]
    models = read_models(specs, sizes=["vit=224", "96"])
    assert [model.size for model in models] == [96, 224, 96]
    models = read_models(specs, sizes=["vit=224", "large=224"])
    settings = Settings(tmp_path, data=tmp_path)
    runs = plan(suite, suite.tasks, models, [0], settings)
    triples = [runs[n : n + 3] for n in range(0, len(runs), 3)]
    assert len(triples) == 7
    for small, vit, large in triples:
        assert small.protocol == large.protocol  # Models of two sizes share a table.
        one, two = small.config()[0], vit.config()[0]
        loop = two.test_cfg
        loaders = [two.test_dataloader, *(loop[n] for n in ("bank", "train") if n in loop)]
        for loader in loaders:
            steps = loader.dataset.pipeline
            assert [step.type for step in steps[1:3]] == ["ResizeEdge", "CenterCrop"], vit
            assert (steps[1].scale, steps[2].crop_size) == (224, 224)
        assert len(one.test_dataloader.dataset.pipeline) == 2
        if vit.task.kind == "train":
            assert two.train_dataloader.dataset.pipeline[1].scale == 224
            assert one.train_dataloader.dataset.pipeline[1].scale == 32
        assert any("centre crop 224 px (1), from --size 224" in line for line in vit.config()[1])
    assert vit.model.facts()["size"] == 224 and "size" not in small.model.facts()


def test_a_size_leaves_what_tasks_and_options_prescribe(tmp_path):
    suite, models = load_suite("toy"), read_models(["v=random:vit-toy-p8"], sizes=["96"])
    options = parse_options(["logreg:preprocessing.size=64"])
    settings = Settings(tmp_path, data=tmp_path, options=options)
    names = ["knn", "logreg", "davis", "seg"]
    found = [r.config()[0] for r in plan(suite, suite.choose(names), models, [0], settings)]
    knn, logreg, davis, seg = found
    # The toy world's crop of 48 of 54 px stays eight ninths.
    steps = knn.test_dataloader.dataset.pipeline
    assert (steps[1].scale, steps[2].crop_size) == (108, 96)
    assert logreg.test_dataloader.dataset.pipeline[2].crop_size == 64
    own = load_config(suite.choose(["seg"])[0].config["any"]).test_dataloader.dataset.pipeline
    assert seg.test_dataloader.dataset.pipeline == own and davis.model.short_side == 120


@pytest.mark.parametrize(
    "sizes, message",
    [
        (["other=224"], "no model has this name; use v"),
        (["v=large"], "--size v=224 for one model"),
        (["0"], "as in --size 224"),
        (["v=64", "v=96"], "v already has --size 64"),
        (["64", "96"], "all models already has --size 64"),
    ],
)
def test_a_wrong_size_stops(sizes, message):
    with pytest.raises(InputError, match=f"--size {sizes[-1]}: .*{message}"):
        read_models(["v=random:vit-toy-p8"], sizes=sizes)
