"""Files that are no checkpoints are named as such, with the remedy, however they are read."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bam_mm import InputError
from bam_mm.checkpoint import (
    convert_checkpoint,
    file_digest,
    load_backbone,
    load_weights,
    parse_backbone,
    read_checkpoint,
)
from tests.checkpoint.layouts import mm_vit, timm_vit


def archive(**entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as whole:
        for name, content in entries.items():
            whole.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def arrays():
    file = io.BytesIO()
    np.savez(file, kernel=np.ones(2))
    return file.getvalue()


def saved(content, **kwargs):
    file = io.BytesIO()
    torch.save(content, file, **kwargs)
    return file.getvalue()


def script():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.ReLU()), file)
    return file.getvalue()


STATE = saved({"cls_token": torch.ones(200)})

FILES = {
    "page.pth": (b"\n<!DOCTYPE html><html>404</html>", "an HTML page; download the file again"),
    "plain_page.pth": (b"<html>404</html>", "an HTML page"),
    "error.pth": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "XML text.*curl -LO"),
    "lfs.safetensors": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n",
        "a Git LFS pointer; fetch the file itself .git lfs pull",
    ),
    "empty.pth": (b"", r"empty \(0 bytes\)"),
    "cut.pth": (STATE[: len(STATE) // 2], r"truncated \(its end is missing after [\d,]+ bytes\)"),
    "cut.safetensors": (b"\xff\x20\0\0\0\0\0\0{", r"truncated \(its header alone has 8,447 bytes"),
    "script.pt": (script(), "a TorchScript archive.*state_dict.*--trust-checkpoint"),
    "array.npy": (b"\x93NUMPY\x01\x00", "a NumPy array; convert it to PyTorch"),
    "jax.npz": (arrays(), r"NumPy arrays \(.npz\).*convert it to PyTorch"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n", "HDF5.*Keras"),
    "net.keras": (archive(**{"model.weights.h5": b"x"}), "a Keras model"),
    "model.onnx": (b"\x08\x07\x12\x07pytorch", "an ONNX model"),
    "named.onnx": (b"\x0a\x0b\x0c", "an ONNX model"),
    "model.gguf": (b"GGUF\x03\0\0\0", "GGUF"),
    "flax_model.msgpack": (b"\x82\xa6params", "a file of Flax"),
    "model.ckpt-9.data-00000-of-00001": (b"\0\1\2", "a part of a TensorFlow checkpoint"),
    "frozen.pb": (b"\x0a\x0b", "a TensorFlow graph"),
    "weights.tar.gz": (b"\x1f\x8b\x08", "compressed with gzip; unpack it"),
    "weights.zip": (archive(a__b="x"), r"a ZIP archive \(a/b\); unpack it"),
    "exported.pt2": (archive(m__models__model="x"), "an archive of torch.export"),
    "plain.pkl": (pickle.dumps({"a": [1.0] * 9}), "a pickle that torch.save did not write"),
    "old.tar": (b"sys_info".ljust(257, b"\0") + b"ustar", "a tar archive of PyTorch 0.1"),
    "any.tar": (b"a.pth".ljust(257, b"\0") + b"ustar", "a tar archive; unpack it"),
    "notes.pth": (b"see the readme of the model", "a text file, which begins with 'see the readme"),
    "photo.pth": (b"\xff\xd8\xff\xe0", "an image"),
    "config.index.json": (b'{"a": 1}', "JSON file without a weight_map"),
    "list.pth": (saved([torch.ones(1)] * 3), "a list of 3 values, not tensors by name.*state_dict"),
    "tensor.pth": (saved(torch.ones(3, 4)), r"one tensor \(3, 4\), not tensors by name"),
    "int.pth": (saved(3), "an int, not tensors by name"),
    "none.pth": (saved(None), "a NoneType, not tensors by name"),
}


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_other_files(tmp_path, name, trust):
    content, words = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    if trust and name == "script.pt":
        assert read_checkpoint(path, trust=True) == {"state_dict": {}}
        return
    model = nn.Linear(1, 1)
    readers = (
        lambda: read_checkpoint(path, trust=trust),
        lambda: load_backbone(model, path, trust=trust),
        lambda: load_weights(model, path, trust=trust),
        lambda: convert_checkpoint(path, tmp_path / "out.pth", to="timm", trust=trust),
        lambda: parse_backbone(f"bam:{path}", trust=trust),
    )
    for read in readers:
        with pytest.raises(InputError, match=words) as caught:
            read()
        assert str(path) in str(caught.value)
    assert not (tmp_path / "out.pth").exists()


FOLDERS = {
    "DeepSpeed": (["latest", "step9/zero_pp_rank_0_mp_rank_00_optim_states.pt"], "zero_to_fp32"),
    "distributed": ([".metadata", "__0_0.distcp"], r"dcp_to_torch .*folder OUT.pth"),
    "Hugging Face": (["config.json", "model.safetensors"], "pass its file model.safetensors"),
    "parts": (["model.safetensors.index.json"], "pass its model.safetensors.index.json"),
    "TensorFlow": (["saved_model.pb"], "TensorFlow.*convert it"),
    "Orbax": (["manifest.ocdbt"], "Flax"),
    "unpacked": (["archive/data.pkl", "archive/data/0"], "unpacked file of torch.save"),
    "run": (["epoch_1.pth", "vis_data/config.py"], r"pass one of its files \(epoch_1.pth\)"),
    "nothing": (["notes.txt"], "without checkpoints: pass a file"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(tmp_path, name):
    files, words = FOLDERS[name]
    for file in files:
        (tmp_path / "folder" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / file).touch()
    for read in (read_checkpoint, file_digest, lambda path: parse_backbone(f"bam:{path}")):
        with pytest.raises(InputError, match=rf"folder is a folder.*{words}"):
            read(tmp_path / "folder")


def test_missing_file_names_similar_ones(tmp_path):
    (tmp_path / "epoch_100.pth").touch()
    (tmp_path / "model.ckpt.index").touch()
    (tmp_path / "link.pth").symlink_to("blobs/gone")
    with pytest.raises(InputError, match=r"does not exist: .* \(its folder holds epoch_100.pth\)"):
        read_checkpoint(tmp_path / "epoch_10.pth")
    with pytest.raises(InputError, match=r"is a link to blobs/gone, which does not exist"):
        read_checkpoint(tmp_path / "link.pth")
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        read_checkpoint(tmp_path / ("x" * 300))
    with pytest.raises(InputError, match=r"is one of TensorFlow"):
        read_checkpoint(tmp_path / "model.ckpt")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_parts_of_a_checkpoint_are_joined(tmp_path, suffix):
    state = timm_vit(1).state_dict()
    names = {True: f"model-00001-of-00002.{suffix}", False: f"model-00002-of-00002.{suffix}"}
    where = {key: names["blocks" in key] for key in state}
    for name in names.values():
        part = {key: value for key, value in state.items() if where[key] == name}
        (save_file if suffix == "safetensors" else torch.save)(part, tmp_path / name)
    index = tmp_path / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    mine = mm_vit(2)
    one = load_backbone(mine, index)
    assert one.loaded == len(state) and torch.equal(mine.cls_token, state["cls_token"])
    with pytest.raises(InputError, match=r"one part of several: pass the \*.index.json"):
        load_backbone(mine, tmp_path / names[True])
    state = {key: value + 1 for key, value in state.items() if "blocks" in key}
    (save_file if suffix == "safetensors" else torch.save)(state, tmp_path / names[True])
    assert file_digest(index) != one.file_sha256
    (tmp_path / names[True]).unlink()
    with pytest.raises(InputError, match=r"incomplete: 1 of its 2 files are missing \(model-0"):
        read_checkpoint(index)


def test_content_decides_and_not_the_name(tmp_path):
    state = {"a": torch.arange(3.0)}
    save_file(state, tmp_path / "c.pth")
    torch.save(state, tmp_path / "c.safetensors")
    torch.save(state, tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    for name in ("c.pth", "c.safetensors", "old.tar"):
        assert torch.equal(read_checkpoint(tmp_path / name)["a"], state["a"])


def test_damaged_numbers_do_not_load(tmp_path):
    """torch stores a checksum for each tensor and does not compare it."""
    content = bytearray(saved({"a": torch.arange(1000.0)}))
    place = bytes(content).index(torch.arange(500.0, 520.0).numpy().tobytes())
    content[place + 2] ^= 0xFF
    (tmp_path / "c.pth").write_bytes(content)
    changed = torch.load(tmp_path / "c.pth", weights_only=True)["a"]
    assert changed.sum() != torch.arange(1000.0).sum()
    with pytest.raises(InputError, match=r"entry .*data/0 does not match its checksum.*damaged"):
        read_checkpoint(tmp_path / "c.pth")


def test_whole_module_needs_trust(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3))
    torch.save(model, tmp_path / "module.pth")
    torch.save({"epoch": 3, "model": model}, tmp_path / "inside.pth")
    for name in ("module.pth", "inside.pth"):
        with pytest.raises(InputError, match=r"Sequential.*--trust-checkpoint.*state_dict"):
            read_checkpoint(tmp_path / name)
        mine = nn.Sequential(nn.Linear(2, 3))
        load_backbone(mine, tmp_path / name, trust=True)
        assert torch.equal(mine[0].weight, model[0].weight)


def test_recorded_backbone_builds_registered_modules_alone(tmp_path):
    for text in (
        "model = dict(backbone=dict(type='os.system', command='true'))",
        "model = dict(backbone=dict(type='mmpretrain.os.system', command='true'))",
        "model = dict(backbone=dict(type='MoCoV3ViT', plugins=[dict(type='subprocess.Popen')]))",
    ):
        torch.save({"meta": {"cfg": text}}, tmp_path / "c.pth")
        with pytest.raises(InputError, match=r"(os.system|Popen)', which is no registered module"):
            parse_backbone(f"bam:{tmp_path / 'c.pth'}")
