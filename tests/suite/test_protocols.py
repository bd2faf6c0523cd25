"""Which settings belong to a protocol, and the messages about differences."""

import re

import pytest

from bam_mm import InputError
from bam_mm.checkpoint.settings import differences
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import find_config
from bam_mm.suite.definitions import load_suite, suite_names
from bam_mm.suite.protocol import digest_of, filled_in, protocol_of
from bam_mm.suite.records import read_records, refuse_to_mix
from tests.report.made_records import SUITE, made

KNN = find_config("cls/vit-toy-p8_knn_toy")
LINEAR = find_config("cls/vit-toy-p8_1xb64-linear-coslr-10e_toy")


def protocol(path, options=None, **kwargs):
    return protocol_of(load_config(path, options), **kwargs)


@pytest.mark.parametrize(
    "options",
    [
        {"data_root": "/elsewhere"},
        {"randomness.seed": 3},
        {"cache_dir": None},
        {"test_dataloader.num_workers": 4, "test_dataloader.batch_size": 7},
        {"model.backbone.arch.embed_dims": 48, "model.branch": "student"},
        {"default_hooks.logger.interval": 1, "log_level": "ERROR"},
    ],
)
def test_paths_models_and_seeds_are_not_part_of_the_protocol(options):
    assert digest_of(protocol(KNN, options)) == digest_of(protocol(KNN))


@pytest.mark.parametrize(
    "path, options, expected",
    [
        (KNN, {"test_cfg.k": [10]}, ["test_cfg.k: [10, 20, 100, 200] -> [10]"]),
        (KNN, {"test_cfg.temperature": 0.1}, ["test_cfg.temperature: 0.07 -> 0.1"]),
        (KNN, {"model.feature": "mean"}, ['model.feature: "cls" -> "mean"']),
        (LINEAR, {"lr": 0.2}, ["optim_wrapper.optimizer.lr: 0.1 -> 0.2"]),
        (LINEAR, {"max_epochs": 3}, ["train_cfg.max_epochs: 10 -> 3"]),
        (
            KNN,
            {"test_dataloader.dataset.pipeline.1.scale": 64},
            ["test_dataloader.dataset.pipeline.1.scale: 54 -> 64"],
        ),
    ],
)
def test_differences_are_listed(path, options, expected):
    found = differences(protocol(path), protocol(path, options))
    assert sorted(found) == sorted(expected)


def test_batch_and_limit_are_part_of_the_protocol():
    whole = protocol(LINEAR, batch=64)
    # Two processes with batches of 32 are equivalent to one with 64.
    assert protocol(LINEAR, {"train_dataloader.batch_size": 32}, batch=64) == whole
    assert differences(whole, protocol(LINEAR, batch=128)) == ["batch: 64 -> 128"]
    assert differences(whole, protocol(LINEAR, batch=64, limit=100)) == ["limit: (not set) -> 100"]
    assert (
        differences({"a": list("abcdefgh")}, {"b": 1})
        and len(differences({str(n): n for n in range(9)}, {})) == 6
    )


def test_the_text_of_a_protocol_is_filled_from_what_ran():
    [linear] = load_suite("toy").choose(["linear"])
    own, other = protocol(LINEAR), protocol(LINEAR, {"max_epochs": 4})
    assert filled_in(linear.about, [own]).endswith("frozen backbone, SGD, 10 epochs")
    assert filled_in(linear.about, [other]).endswith("frozen backbone, SGD, 4 epochs")
    assert filled_in("k={model.k}: {batch} images", [{"batch": 1024, "model": {"k": [3, 5]}}]) == (
        "k=3, 5: 1,024 images"
    )
    # Networks of two families may have been trained for different times.
    assert filled_in(linear.about, [own, other, own]).endswith("SGD, 10 or 4 epochs")
    assert filled_in("{test_cfg.draws} draws", []) == "? draws"


@pytest.mark.slow
def test_the_texts_of_all_suites_name_settings_that_their_protocols_have():
    for name in suite_names():
        for task in load_suite(name).tasks:
            for path in task.config.values():
                batch = None if task.kind == "test" else 64
                text = filled_in(task.about, [protocol(path, task.options, batch=batch)])
                assert "?" not in text and "{" not in text, (name, task.name)
                assert not re.search(r"\d+ (epochs|iterations)", task.about), (name, task.name)


def test_records_of_another_protocol_or_other_data_are_rejected(tmp_path):
    old, data = protocol(KNN), {"seed": 0, "scale": 1.0}
    made(tmp_path, "A", "knn", 0, {}, protocol=old, data=data, family="vit")
    made(tmp_path, "B", "knn", 0, {}, protocol={"x": 1}, status="failed")
    records = read_records(tmp_path)

    def refuse(protocol, data=data, slug="C", variant="any", family="vit", kind="test"):
        new = dict(task="knn", variant=variant, family=family, slug=slug, kind=kind)
        refuse_to_mix(records, {**new, "protocol": protocol, "data": data}, tmp_path)

    refuse(old)
    # Features do not depend on the batch in which they are extracted.
    smaller = protocol(KNN, {"test_cfg.bank.batch_size": 16})
    assert smaller["test_cfg"]["bank"]["batch_size"] == 16
    refuse(smaller)
    # The task's config for another family is not compared, nor is another pretraining.
    refuse({"y": 2}, variant="cnn", family="cnn")
    refuse({"y": 2}, variant="byol", family="vit", kind="pretrain")
    other = protocol(KNN, {"test_cfg.k": [10]})
    message = r"model A, seed 0.*k: \[10, 20, 100, 200\] -> \[10\]"
    with pytest.raises(InputError, match=message):
        refuse(other)
    # The task had one config for all families when A was tested, and has one for each now.
    refuse(old, variant="vit")
    with pytest.raises(InputError, match=message):
        refuse(other, variant="vit")
    with pytest.raises(InputError, match=message):
        refuse(other, variant="vit", family="", slug="A")
    with pytest.raises(InputError, match=r"data\.scale: 1\.0 -> 0\.5"):
        refuse(old, {**data, "scale": 0.5})


def test_every_suite_can_be_loaded():
    names = suite_names()
    methods = ["methods", "methods-short", "methods-toy"]
    assert names == ["cifar10", *methods, "paper", "quick", "toy"]
    tasks = {name: [task.name for task in load_suite(name).tasks] for name in names}
    every = [
        "knn",
        "logreg",
        "cluster",
        "linear",
        "linear-many",
        "finetune",
        "semi10",
        "semi1",
        "dense_knn",
        "davis",
        "det",
        "seg",
    ]
    assert tasks["toy"] == every
    assert all(task.kind == "test" for task in load_suite("quick").tasks)
    assert {"knn", "transfer-pets", "cluster", "dense_knn", "davis"} < {*tasks["quick"]}
    assert len({*tasks["paper"]}) == len(tasks["paper"])
    assert {*tasks["quick"], "finetune-pets", "det", "seg"} < {*tasks["paper"]}
    with pytest.raises(InputError, match="has knn, video"):
        load_and_choose(SUITE, choose=["knn", "poetry"])


@pytest.mark.parametrize(
    "change, message",
    [
        (('kind="test"', 'kind="guess"'), "one of test, train"),
        (("vit-toy-p8_knn_toy", "vit-toy-p9_knn_toy"), "vit-toy-p9_knn_toy.py does not exist"),
        (("cost=", "costs="), "unknown: costs"),
        (("main=True, published", "published"), "main=True"),
        (('better="lower"', 'better="less"'), "davis/error has better='less'; choose one of high"),
        (('"top-1", main=True', '"k", main=True, better="neither"'), "is not enough"),
        (('name="video"', 'name="knn"'), "task names must be unique"),
        (('about = "for tests"', 'about = ""'), "has no about"),
        (("tasks = [", "tasks = [3, "), "task 3 must be a dict with a name"),
    ],
)
def test_an_invalid_suite_is_rejected(change, message):
    with pytest.raises(InputError, match=message):
        load_and_choose(SUITE.replace(*change, 1))


def load_and_choose(text, choose=None):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.py"
        path.write_text(text)
        load_suite(path).choose(choose)


def test_a_folder_with_configs_of_the_same_names_does_not_replace_the_protocols(
    tmp_path, monkeypatch
):
    (tmp_path / "configs/cls").mkdir(parents=True)
    (tmp_path / "configs/cls/vit-toy-p8_knn_toy.py").write_text("another = 1")
    monkeypatch.chdir(tmp_path)
    assert load_suite("toy").tasks[0].config == {"any": KNN}
