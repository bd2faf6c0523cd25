"""A user's config, in a user's folder, that inherits one of this package: ``bam_mm::...``."""

import json
import subprocess
import sys

import pytest
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.launch.config import load_config, plain

KNN = "cls/vit-toy-p8_knn_toy"


def scopes(node):
    """Return the values of ``_scope_`` at any depth."""
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, value in entries:
        if key == "_scope_":
            found.append(value)
        elif isinstance(value, (dict, list, tuple)):
            found += scopes(value)
    return found


def test_a_users_config_inherits_and_changes(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(f"_base_ = 'bam_mm::{KNN}.py'\ntest_dataloader = dict(batch_size=3)\n")
    inherited, original = Config.fromfile(str(own)), load_config(KNN)
    assert inherited.test_dataloader.batch_size == 3 != original.test_dataloader.batch_size
    original.test_dataloader.batch_size = 3
    assert plain(inherited.to_dict()) == plain(original.to_dict())
    # A scope would send mmpretrain's types to the registry of this package.
    assert scopes(inherited.to_dict()) == []
    assert plain(load_config(own).to_dict()) == plain(original.to_dict())


def test_among_several_bases_and_others_of_mmengine_keep_their_scope(tmp_path):
    (tmp_path / "first.py").write_text("mine = 1\n")
    own = tmp_path / "own.py"
    own.write_text(f"_base_ = ['first.py', 'bam_mm::{KNN}.py']\nseen = _base_.mine + 1\n")
    config = Config.fromfile(str(own))
    assert (config.mine, config.seen) == (1, 2) and config.model.type.startswith("bam_mm.")
    own.write_text("_base_ = 'mmpretrain::_base_/models/resnet50.py'\n")
    assert Config.fromfile(str(own)).model._scope_ == "mmpretrain"


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("_base_ = 'bam_mm::cls/vit-toy-p8_kn_toy.py'\n")
    with pytest.raises(
        InputError, match=r"own\.py.*does not exist; did you mean bam_mm::cls/vit-toy-p8_knn"
    ):
        Config.fromfile(str(own))


def test_a_base_may_import_the_package_itself(tmp_path):
    # For tools that do not import bam_mm: mmengine evaluates this expression first.
    own = tmp_path / "own.py"
    own.write_text(f"_base_ = __import__('bam_mm') and 'bam_mm::{KNN}.py'\n")
    code = (
        "import json, sys; from mmengine.config import Config; assert 'bam_mm' not in sys.modules; "
        f"print(json.dumps(Config.fromfile({str(own)!r}).model.type))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == load_config(KNN).model.type
