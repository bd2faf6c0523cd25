"""A variable and the entries that use it have one value, or they are found."""

import re

import pytest
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.hooks.check_config import check_variables
from bam_mm.launch.config import load_config
from bam_mm.variables.behind import behind_in_files, behind_options
from tests.pages import blocks

BASE = """
data_root = 'toy'
lr = 0.1
num_classes = 9
max_epochs = 10
warmup = 2
size = 8
pipeline = [dict(type='Resize', scale=size)]
loader = dict(batch_size=4)
model = dict(head=dict(num_classes=num_classes))
train_dataloader = dict(**loader, num_classes=num_classes,
                        dataset=dict(data_root=data_root, pipeline=pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = dict(ann_file=data_root + '/val.json')
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(start_factor=1e-6 / lr, end=warmup),
    dict(T_max=max_epochs - warmup, begin=warmup, end=max_epochs),
]
train_cfg = dict(max_epochs=max_epochs)
"""
SCHEDULE = "param_scheduler = [dict(end=warmup)]\n"
ROOTS = ["train_dataloader.dataset.data_root", "val_dataloader.dataset.data_root"]
ROOTS += ["val_evaluator.ann_file", "test_dataloader.dataset.data_root"]


@pytest.fixture
def config(tmp_path):
    """A function that writes a config that inherits the base, and reads it with mmengine."""

    def write(text, name="c.py", base="base.py"):
        (tmp_path / "base.py").write_text(BASE)
        (tmp_path / name).write_text(f"_base_ = {base!r}\n{text}")
        return Config.fromfile(str(tmp_path / name))

    return write


def found(config, **kwargs):
    """Return the decisive entries of each variable, and those that are only logged."""
    items = behind_in_files(config, config.filename, **kwargs)
    decisive = {each.name: [key for key, _ in each.decisive] for each in items if each.decisive}
    logged = {each.name: [key for key, _ in each.others] for each in items if not each.decisive}
    return decisive, logged


TRAIN = "train_dataloader = dict(dataset=dict(data_root=data_root))\n"


@pytest.mark.parametrize(
    "text, parts, decisive",
    [
        ("data_root = 'mine'\n", ["train", "val", "test"], {"data_root": ROOTS}),
        ("data_root = 'mine'\n", ["test"], {"data_root": ROOTS[3:]}),
        ("data_root = 'mine'\n" + TRAIN, ["train"], {}),
        # One part may have other data than another, but no part both.
        ("data_root = 'mine'\n" + TRAIN, ["train", "val"], {}),
        ("data_root = 'mine'\n" + TRAIN, ["test"], {}),
        ("data_root = 'mine'\nval_dataloader = dict(dataset=dict(data_root=data_root))\n",
         ["train", "val"], {"data_root": [ROOTS[2]]}),
        ("num_classes = 3\nmodel = dict(head=dict(num_classes=num_classes))\n", ["train"],
         {"num_classes": ["train_dataloader.num_classes"]}),
        ("num_classes = 3\ntrain_dataloader = dict(num_classes=num_classes)\n", ["test"],
         {"num_classes": ["model.head.num_classes"]}),
        # The new value is nowhere, so the variable changes nothing.
        ("data_root = 'mine'\nval_dataloader = dict(dataset=dict(data_root='toy'))\n",
         ["train"], {"data_root": [ROOTS[0]]}),
        ("lr = 0.5\n", ["train"], {"lr": ["optim_wrapper.optimizer.lr",
                                          "param_scheduler.0.start_factor"]}),
        ("lr = 0.5\n", ["test"], {}),
        # An entry that is computed may stay on purpose, if anything follows the variable.
        ("lr = 0.5\noptim_wrapper = dict(optimizer=dict(lr=lr))\n", ["train"], {}),
        ("lr = 0.5\noptim_wrapper = dict(optimizer=dict(lr=lr / 2))\n", ["train"], {}),
        ("warmup = 3\n", ["train"], {"warmup": ["param_scheduler.0.end", "param_scheduler.1.begin",
                                                "param_scheduler.1.T_max"]}),
        ("warmup = 3\n" + SCHEDULE, ["train"], {}),
        ("size = 9\n", ["train"], {"size": ["train_dataloader.dataset.pipeline.0.scale"]}),
        ("pipeline = []\n", ["train"], {"pipeline": ["train_dataloader.dataset.pipeline"]}),
        # Entries without their variable, whatever else inherits them, are the usual way.
        ("train_dataloader = dict(dataset=dict(data_root='mine'))\n", ["train", "val"], {}),
        ("train_cfg = dict(max_epochs=3)\noptim_wrapper = dict(optimizer=dict(lr=9))\n", ["train"],
         {}),
        # So is an entry that keeps the former value by intention.
        ("data_root = 'mine'\nval_dataloader = dict(dataset=dict(data_root='toy'))\n"
         "val_evaluator = dict(ann_file='toy/val.json')\n" + TRAIN, ["train", "val"], {}),
        ("data_root = 'toy'\nmine = 3\n_size = 3\n", ["train"], {}),
    ],
)  # fmt: skip
def test_entries_that_a_child_leaves_behind(config, text, parts, decisive):
    stopped, _ = found(config(text), parts=parts)
    assert {name: sorted(keys) for name, keys in stopped.items()} == {
        name: sorted(keys) for name, keys in decisive.items()
    }


def test_copies_under_other_names_are_logged_if_an_entry_follows(config):
    child = config("max_epochs = 20\ntrain_cfg = dict(max_epochs=max_epochs)\n")
    behind = ["param_scheduler.1.T_max", "param_scheduler.1.end"]
    logged = found(child)[1]
    assert found(child)[0] == {} and sorted(logged.pop("max_epochs")) == behind and not logged
    [each] = check_variables(child, ("train",))
    assert "max_epochs = 20 does not reach all its entries" in each.message(child)
    assert "set param_scheduler.1.T_max (still 8), param_scheduler.1.end (still 10) too" in (
        each.message(child)
    )
    # An option does not reach them either, and the name is one of this package's configs.
    assert "--cfg-options" not in each.message(child) and "Rename" not in each.message(child)


def test_data_of_two_folders_are_logged_with_both(config):
    child = config("data_root = 'mine'\n" + TRAIN)
    [each] = check_variables(child, ("train", "val"))
    assert each.message(child).endswith(
        "set val_dataloader.dataset.data_root (still 'toy'), val_evaluator.ann_file "
        "(still 'toy/val.json') too, like train_dataloader.dataset.data_root, or state the "
        "old value there if it is meant"
    )
    [each] = check_variables(child, ("test",))
    assert [key for key, _ in each.others] == ROOTS[3:]
    # An option moves what has the variable's value, and leaves the others to the same warning.
    moved = load_config(child.filename, {"data_root": "new"})
    assert moved.train_dataloader.dataset.data_root == "new"
    [each] = check_variables(moved, ("train", "val"))
    assert [key for key, _ in each.others] == ROOTS[1:3]
    with pytest.raises(InputError, match=r"set .* Rename it if it is a variable of your own$"):
        check_variables(config("warmup = 3\n"), ("train",))


def test_weights_and_results_below_the_folder_are_no_data(config, tmp_path):
    base = "data_root = 'toy'\nload_from = 'toy/r50.pth'\n"
    base += "model = dict(init_cfg=dict(checkpoint='toy/r50.pth'))\n"
    base += "test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='toy/a.json'))\n"
    base += "test_cfg = dict(cache_dir='toy/cache', bank=dict(ann_file='toy/b.json'))\n"
    (tmp_path / "weights.py").write_text(base)
    text = "data_root = 'mine'\ntest_dataloader = dict(dataset=dict(data_root=data_root))\n"
    stopped = found(config(text, base="weights.py"))[0]
    assert stopped == {"data_root": ["test_dataloader.dataset.ann_file", "test_cfg.bank.ann_file"]}


def test_a_file_in_the_middle_is_named(config):
    config("data_root = 'mine'\n", name="middle.py")
    leaf = config("work_dir = 'w'\n", base="middle.py")
    with pytest.raises(InputError, match=r"middle\.py: data_root = 'mine' changes nothing, .* set "
                       r"train_dataloader.dataset.data_root \(still 'toy'\)"):  # fmt: skip
        check_variables(leaf, ("train",))
    # A leaf that sets the entries repairs it, and one that names a third folder does not.
    config("data_root = 'third'\n", base="middle.py")
    assert found(leaf)[0] == {"data_root": ROOTS}
    assert found(config("train_dataloader = dict(dataset=dict(data_root='mine'))\n",
                        base="middle.py"), parts=["train"]) == ({}, {})  # fmt: skip


def test_what_another_tool_merges(config):
    child = config("work_dir = 'w'\n")
    assert check_variables(child, ("train", "val", "test")) == []
    child.merge_from_dict({"data_root": "mine", "train_dataloader.dataset.data_root": "mine"})
    [each] = behind_options(child, child.filename)
    assert {key for key, _ in each.others} == {*ROOTS[1:]} and each.changed == (ROOTS[0],)
    [each] = check_variables(child, ("train", "val"))
    assert re.search(r"'mine' does not reach .* set after .*c\.py", each.message(child))
    assert check_variables(child, ("train",)) == []
    child = config("work_dir = 'w'\n")
    child.merge_from_dict({"param_scheduler.0.end": 3, "train_cfg.max_epochs": 7, "warmup": 3})
    assert check_variables(child, ("train",)) == []


def test_options_of_this_package_reach_the_entries(config):
    path = config("work_dir = 'w'\n").filename
    child = load_config(path, {"data_root": "mine", "max_epochs": 3, "lr": 0.5, "size": 9})
    assert check_variables(child, ("train", "val", "test")) == []


def test_the_example_of_the_documentation_has_nothing_behind(tmp_path):
    [text] = [text for text in blocks("docs/runs.md", "python") if text.startswith("_base_")]
    own = tmp_path / "own.py"
    own.write_text(text)
    child = Config.fromfile(str(own))
    assert child.data_root == child.val_dataloader.dataset.data_root == "photos"
    assert check_variables(child, ("train", "val", "test")) == []
    own.write_text("\n".join(text.splitlines()[:2]))
    with pytest.raises(InputError, match=r"own\.py: data_root = 'photos' changes nothing"):
        check_variables(Config.fromfile(str(own)), ("test",))


def test_copies_of_configs_are_silent(config, tmp_path):
    child = config("data_root = 'mine'\n" + TRAIN)
    child.dump(str(tmp_path / "dumped.py"))
    dumped = Config.fromfile(str(tmp_path / "dumped.py"))
    assert check_variables(dumped, ("train", "val", "test")) == []
    # An option that such a copy has no entry for is not.
    dumped.data_root = "other"
    with pytest.raises(InputError, match="data_root = 'other' changes nothing"):
        check_variables(dumped, ("train",))
    assert check_variables(Config(child._cfg_dict), ("train", "val")) == []
    (tmp_path / "json.json").write_text('{"data_root": "a"}')
    assert check_variables(Config.fromfile(str(tmp_path / "json.json")), ("train",)) == []


def test_pure_python_configs_are_silent(tmp_path):
    (tmp_path / "first.py").write_text(
        "from mmengine.optim import OptimWrapper\nlr = 1\n"
        "optim_wrapper = dict(type=OptimWrapper, optimizer=dict(lr=lr))\n"
    )
    (tmp_path / "c.py").write_text(
        "from mmengine.config import read_base\nwith read_base():\n    from .first import *\n"
        "optim_wrapper.optimizer.lr = 3\n"
    )
    config = Config.fromfile(str(tmp_path / "c.py"))
    assert check_variables(config, ("train", "val", "test")) == []


def test_a_hook_that_reads_a_variable_has_no_copy_of_it(config, tmp_path):
    (tmp_path / "hook.py").write_text(
        "checkpoint = None\n"
        "custom_hooks = [dict(type='bam_mm.LoadBackboneHook', checkpoint=checkpoint)]\n"
    )
    assert found(config("checkpoint = 'w.pth'\n", base="hook.py")) == ({}, {})
    (tmp_path / "init.py").write_text(
        "checkpoint = 'a.pth'\nmodel = dict(init_cfg=dict(checkpoint=checkpoint))\n"
    )
    stopped, _ = found(config("checkpoint = 'w.pth'\n", base="init.py"))
    assert stopped == {"checkpoint": ["model.init_cfg.checkpoint"]}
