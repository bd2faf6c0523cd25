"""No code from a file runs without the user's permission, however the file is read."""

import json
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from bam_mm import InputError
from bam_mm.checkpoint import load_backbone, read_checkpoint
from tests.checkpoint.layouts import ARCH, mm_vit, timm_vit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


class Trap:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def evil(tmp_path):
    content = {"state_dict": timm_vit(1).state_dict(), "note": Trap(tmp_path / "sprung")}
    torch.save(content, tmp_path / "evil.pth")
    return tmp_path / "evil.pth"


def run(*args, **kwargs):
    return subprocess.run(
        [sys.executable, *map(str, args)], capture_output=True, text=True, cwd=ROOT, timeout=400,
        **kwargs,
    )  # fmt: skip


def test_code_in_a_pickle_does_not_run(evil, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for read in (read_checkpoint, lambda path: load_backbone(mm_vit(1), path)):
        with pytest.raises(InputError) as caught:
            read(evil)
        for words in ("evil.pth is not read", "run code", "--trust-checkpoint", "mkdir"):
            assert words in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_flag_allows_reading(evil, tmp_path):
    tool = ROOT / "tools/convert_checkpoint.py"
    refused = run(tool, evil, tmp_path / "out.pth", "--to", "mmpretrain")
    assert refused.returncode == 1 and "--trust-checkpoint" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "sprung").exists() and not (tmp_path / "out.pth").exists()
    read = run(tool, evil, tmp_path / "out.pth", "--to", "mmpretrain", "--trust-checkpoint")
    assert read.returncode == 0, read.stderr
    assert (tmp_path / "sprung").exists()
    # The written file needs no trust.
    report = load_backbone(mm_vit(2), tmp_path / "out.pth")
    assert report.loaded == 30


def test_complete_models_and_backbones_are_read_with_trust(evil, tmp_path):
    from bam_mm.checkpoint import load_weights
    from bam_mm.models import LabelPropagation

    with pytest.raises(InputError, match="--trust-checkpoint"):
        load_weights(timm_vit(2), evil)
    model = timm_vit(2)
    load_weights(model, evil, trust=True)
    assert torch.equal(model.cls_token, timm_vit(1).cls_token)
    (tmp_path / "sprung").rmdir()
    backbone = dict(type="mmpretrain.MoCoV3ViT", arch=ARCH, img_size=32, patch_size=8)
    propagation = LabelPropagation(backbone)
    with pytest.raises(InputError, match="--trust-checkpoint"):
        propagation.load_pretrained(evil)
    assert propagation.load_pretrained(evil, trust=True).loaded == 30


def test_trust_has_no_effect_if_it_is_not_needed(tmp_path):
    state = timm_vit(1).state_dict()
    torch.save(state, tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth", trust=True).keys() == state.keys()
    (tmp_path / "d.pth").write_bytes(b"not a pickle")
    with pytest.raises(InputError, match="cannot be read even with --trust-checkpoint"):
        read_checkpoint(tmp_path / "d.pth", trust=True)


class Attribute:
    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


class Builtins:
    """An object that adds exec to the builtins with getattr only, which mmengine's list allows."""

    def __reduce__(self):
        module = Attribute(getattr, "__self__")
        items = iter([("harmless_name", Attribute(module, "exec"))])
        return getattr, (module, "__dict__"), None, None, items


def test_getattr_is_restricted(tmp_path):
    import builtins

    torch.save({"cls_token": torch.ones(1), "note": Builtins()}, tmp_path / "c.pth")
    with pytest.raises(InputError, match=r"run code.*attribute '__self__'"):
        read_checkpoint(tmp_path / "c.pth")
    assert not hasattr(builtins, "harmless_name")


def test_other_contents_of_training_checkpoints_are_read(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = {
        "state_dict": {"a": torch.ones(2)},
        "args": Namespace(lr=0.1, crops=[2, 6], arch="vit_small"),
        "message_hub": {"log_scalars": {"loss": history}, "best": np.float64(3.5)},
    }
    torch.save(content, tmp_path / "c.pth")
    back = read_checkpoint(tmp_path / "c.pth")
    assert back["args"] == content["args"]
    assert back["message_hub"]["log_scalars"]["loss"].mean() == 1.5
    assert back["message_hub"]["best"] == 3.5


def test_safetensors_round_trip(tmp_path):
    state = timm_vit(1).state_dict()
    save_file(state, tmp_path / "c.safetensors")
    back = read_checkpoint(tmp_path / "c.safetensors")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())
    torch.save(state, tmp_path / "c.pth")
    one = load_backbone(mm_vit(1), tmp_path / "c.safetensors")
    two = load_backbone(mm_vit(2), tmp_path / "c.pth")
    assert one.digest == two.digest and one.file_sha256 != two.file_sha256
    assert (one.layout, one.loaded) == (two.layout, two.loaded)


@pytest.mark.parametrize("name", ["c.safetensors", "c.pth"])
@pytest.mark.parametrize("kept", [0, 7, 500, -100])
def test_damaged_files_raise_one_message(tmp_path, name, kept):
    state = timm_vit(1).state_dict()
    save_file(state, tmp_path / name) if "safe" in name else torch.save(state, tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:kept])
    with pytest.raises(InputError, match=r"c\.\w+ (cannot be read|is not read).*damaged"):
        read_checkpoint(tmp_path / name)


def test_only_one_place_in_the_package_unpickles():
    unsafe = re.compile(r"weights_only\s*=\s*False|pickle\.loads?\(|allow_pickle\s*=\s*True")
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ("bam_mm", "tools", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for _ in unsafe.finditer(path.read_text())
    ]
    assert found == ["bam_mm/checkpoint/reading.py"]


WAYS = """
import json, sys
from pathlib import Path
import torch
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint_with_prefix
from bam_mm import InputError
from bam_mm.checkpoint import forbid_unpickling, read_checkpoint

evil, good, work_dir = sys.argv[1:]
sprung = Path(evil).with_name("sprung")
forbid_unpickling()

class Net(BaseModule):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.fc = torch.nn.Linear(2, 2)

def pretrained(path):
    Net(init_cfg=dict(type="Pretrained", checkpoint=path)).init_weights()

def runner(path, method):
    getattr(Runner(Net(), work_dir=sys.argv[3], experiment_name=method), method)(path)

def timm_path(path):
    import timm
    timm.create_model("test_vit", checkpoint_path=path)

ways = dict(
    load_checkpoint=lambda path: load_checkpoint(Net(), path),
    with_prefix=lambda path: _load_checkpoint_with_prefix("fc.", path),
    pretrained=pretrained,
    runner_load=lambda path: runner(path, "load_checkpoint"),
    runner_resume=lambda path: runner(path, "resume"),
    torch_load=lambda path: torch.load(path, weights_only=False),
    timm=timm_path,
)
result = {"accepts": [], "refused": {}}
for name, way in ways.items():
    try:
        way(evil)
        result["refused"][name] = "NOT REFUSED"
    except Exception as error:
        result["refused"][name] = f"{type(error).__name__}: {error}"
for name in ("load_checkpoint", "pretrained", "runner_load"):
    ways[name](good)
    result["accepts"].append(name)
result["schemes"] = {}
for prefix in CheckpointLoader._schemes:
    path = prefix.replace(r"(\\S+\\:)?", "") + "evil.pth"
    if path == "evil.pth":
        continue
    for spelled in (path, "cluster:" + path):
        if CheckpointLoader._get_checkpoint_loader(spelled).__name__ == "load_from_local_safely":
            continue
        try:
            CheckpointLoader.load_checkpoint(spelled)
        except InputError as error:
            result["schemes"][spelled] = str(error)
result["sprung"] = [sprung.exists()]
read_checkpoint(evil, trust=True)
result["sprung"].append(sprung.exists())
print("RESULT" + json.dumps(result))
"""


def test_libraries_do_not_fall_back_to_unpickling(evil, tmp_path):
    good = {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(2)}
    torch.save({"state_dict": good}, tmp_path / "good.pth")
    result = run(
        "-c", WAYS, evil, tmp_path / "good.pth", tmp_path / "work",
        env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    answer = json.loads(result.stdout.split("RESULT")[1])
    assert answer["sprung"] == [False, True]
    for name, message in answer["refused"].items():
        kind = {"torch_load": "UnpicklingError", "timm": "RuntimeError"}.get(name, "InputError")
        assert message.startswith(kind) and "mkdir" in message, (name, message)
    assert len(answer["accepts"]) == 3
    schemes = {spelled.split("://")[0] for spelled in answer["schemes"]}
    assert schemes >= {
        "http", "https", "pavi", "s3", "petrel", "cluster:s3", "modelzoo", "torchvision",
        "open-mmlab", "openmmlab", "mmcls",
    }  # fmt: skip
    for spelled, message in answer["schemes"].items():
        assert message.startswith(f"checkpoint {spelled} is not a local file: nothing is downl")
