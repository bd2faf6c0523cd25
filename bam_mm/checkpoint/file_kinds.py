"""Files and folders that are no checkpoints of PyTorch, by their first bytes."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import filter as filter_names
from itertools import islice
from pathlib import Path

from bam_mm.errors import InputError, listing

TORCHSCRIPT = "TorchScript"
"""Kind of a file that holds a compiled module, which can only be read by running it."""

HEAD = 4096
"""Number of first bytes that are looked at."""

_AGAIN = "download the file again from its direct link (curl -LO URL)"
_UNPACK = "unpack it and pass the checkpoint inside"
_EXPORT = "convert it to PyTorch where it was made, and pass a file with the state_dict"
_SAVE = "save the state_dict of the model with torch.save and pass that file"


@dataclass(frozen=True)
class Kind:
    """A kind of file or folder that is not read.

    Args:
        name: Name of the kind in messages.
        mark: Regular expression of the first bytes of a file, or pattern of a name in a folder.
        remedy: What to do.
    """

    name: str
    mark: str
    remedy: str


BY_BYTES = (
    Kind("a Git LFS pointer", r"version https://git-lfs", "fetch the file itself (git lfs pull)"),
    Kind("a git-annex pointer", r"/?(\.\./)*(\.git)?/?annex/objects/", "run git annex get"),
    Kind("an HTML page", r"(?i)\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", _AGAIN),
    Kind("an XML text, as servers answer with an error", r"\s*<\?xml\b", _AGAIN),
    Kind("a NumPy array", r"\x93NUMPY", _EXPORT),
    Kind("an HDF5 file, as Keras writes it", r"\x89HDF\r\n", _EXPORT),
    Kind("a GGUF file of llama.cpp", r"GGUF|GGML|lmgg|tjgg", _EXPORT),
    Kind("a TensorFlow Lite model", r".{4}TFL3", _EXPORT),
    Kind("an ONNX model", r"\x08[\x01-\x20]\x12.{1,2}(pytorch|tf2onnx|onnx|keras|skl)", _EXPORT),
    Kind("compressed with gzip", r"\x1f\x8b", _UNPACK),
    Kind("compressed with bzip2", r"BZh[1-9]", _UNPACK),
    Kind("compressed with xz", r"\xfd7zXZ\x00", _UNPACK),
    Kind("compressed with Zstandard", r"\x28\xb5\x2f\xfd", _UNPACK),
    Kind("a 7-Zip archive", r"7z\xbc\xaf\x27\x1c", _UNPACK),
    Kind("a RAR archive", r"Rar!\x1a\x07", _UNPACK),
    Kind("a tar archive", r".{257}ustar", _UNPACK),
    Kind("an image", r"\xff\xd8\xff|\x89PNG|GIF8|RIFF.{4}WEBP", "pass the checkpoint"),
    Kind("a PDF", r"%PDF", "pass the checkpoint"),
    Kind("metadata of macOS", r"\x00\x05\x16[\x00\x07]", "pass the file without ._ in its name"),
)

BY_NAME = (
    Kind("an ONNX model", r".*\.onnx", _EXPORT),
    Kind("a file of Flax", r".*\.msgpack", _EXPORT),
    Kind("a TensorFlow graph", r".*\.pb(txt)?", _EXPORT),
    Kind("a part of a TensorFlow checkpoint", r".*\.(index|meta|data-\d+-of-\d+)", _EXPORT),
    Kind("weights of PaddlePaddle", r".*\.pd(params|opt|model)", _EXPORT),
)
"""Kinds that have no mark in their first bytes, by the whole name."""

FOLDERS = (
    Kind("DeepSpeed", "zero_pp_rank_*", "join its parts (python zero_to_fp32.py {} OUT)"),
    Kind("DeepSpeed", "mp_rank_*", "pass its file mp_rank_00_model_states.pt"),
    Kind(
        "torch.distributed.checkpoint",
        "*.distcp",
        "join its parts (python -m torch.distributed.checkpoint.format_utils dcp_to_torch {} "
        "OUT.pth)",
    ),
    Kind("Hugging Face", "model.safetensors", "pass its file model.safetensors"),
    Kind("Hugging Face", "model.safetensors.index.json", "pass its model.safetensors.index.json"),
    Kind("Hugging Face", "pytorch_model.bin", "pass its file pytorch_model.bin"),
    Kind("Hugging Face", "pytorch_model.bin.index.json", "pass its pytorch_model.bin.index.json"),
    Kind("TensorFlow", "saved_model.pb", _EXPORT),
    Kind("TensorFlow", "*.index", _EXPORT),
    Kind("Flax", "manifest.ocdbt", _EXPORT),
    Kind("Flax", "_METADATA", _EXPORT),
    Kind("an unpacked file of torch.save", "data.pkl", "pass the file that was unpacked"),
)

_TORCH_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_MOST = 10_000
"""Number of names in a folder that are looked at."""

_WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".tar")


def find_kind(path: Path, *, trust: bool = False) -> str:
    """Find out by which reader a file can be read.

    Args:
        path: Path of the file.
        trust: Whether the user has explicitly allowed code in this file to run.

    Returns:
        ``safetensors``, ``index`` (the list of the parts of a checkpoint), ``TorchScript`` or
        ``torch``, which includes what is not known.

    Raises:
        InputError: If the path is missing, a folder, or another kind of file. The message names it.
    """
    check_is_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise _unreadable(path, error) from error
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path, trust)
    if head[8:9] == b"{" and not head.startswith(b"{"):
        return _whole_safetensors(path, head, trust)
    if re.match(rb"\s*\{", head) and path.suffix == ".json":
        return "index"
    fault = _fault(path, head)
    if fault:
        raise _refused(path, *fault, trust)
    return "torch"


def check_is_file(path: Path) -> None:
    """Check that a checkpoint is a file.

    Raises:
        InputError: If it does not exist, or is a folder, an address or the name of a backbone. The
            message names the file to pass.
    """
    if re.match(r"bam:|(timm|torchvision|mmpretrain|random):[^/]", str(path)):
        raise InputError(
            f"checkpoint {path} is the name of a backbone, as --model of bam-mm benchmark and "
            "bam-mm features takes it: write the path of the file here"
        )
    try:
        if re.match(r"[a-z][\w+-]+:/", str(path)) and not path.exists():
            # Path has joined the two slashes.
            raise InputError(
                f"checkpoint {str(path).replace(':/', '://', 1)} is an address, and nothing is "
                "downloaded: download the file, and pass its path"
            )
        fault = _fault_of_path(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if fault:
        raise InputError(f"checkpoint {path} {fault}")


def _fault_of_path(path: Path) -> str | None:
    if path.is_dir():
        return f"is a folder{_inside(path)}"
    if path.is_file():
        return None
    if path.exists():
        return "is not a regular file: pass a checkpoint file"
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which does not exist: download it again"
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    if f"{path.name}.index" in siblings:
        return f"is one of TensorFlow: {_EXPORT}"
    close = get_close_matches(path.name, siblings, n=3, cutoff=0.75)
    hint = f" (its folder holds {', '.join(close)})" if close else ""
    return f"does not exist: check the path{hint}"


def parts_of_index(path: Path) -> list[Path]:
    """Return the files that hold the tensors of a sharded checkpoint.

    Args:
        path: Path of a file such as ``model.safetensors.index.json``, whose ``weight_map`` has the
            name of a file for each tensor.

    Raises:
        InputError: If the file is another JSON file, or a part is missing.
    """
    try:
        content = json.loads(path.read_text())
        names = sorted(set(content["weight_map"].values()))
        parts = [path.with_name(Path(name).name) for name in names]
    except (AttributeError, KeyError, OSError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read: it is a JSON file without a weight_map; pass the "
            "file with the weights"
        ) from error
    missing = [part.name for part in parts if not part.is_file()]
    if missing or not parts:
        raise InputError(
            f"checkpoint {path} is incomplete: {len(missing)} of its {len(parts)} files are "
            f"missing ({listing(missing)}); download them into its folder"
        )
    return parts


def _kind_of_archive(path: Path, trust: bool) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        what = f"truncated (its end is missing after {path.stat().st_size:,} bytes) or damaged"
        raise _refused(path, what, "copy it again, or use an earlier checkpoint", trust) from error
    inner = {name.partition("/")[2] or name for name in names}
    if "data.pkl" in inner and "constants.pkl" in inner:
        if trust:
            return TORCHSCRIPT
        raise _refused(
            path, "a TorchScript archive, which is code", f"{_SAVE}, or pass --trust-checkpoint"
        )
    if "data.pkl" in inner:
        return "torch"
    if any(name.endswith(".npy") for name in names):
        raise _refused(path, "an archive of NumPy arrays (.npz), as JAX models are", _EXPORT, trust)
    if any("exported_program" in name or name.startswith("models/") for name in inner):
        raise _refused(path, "an archive of torch.export", _SAVE, trust)
    if any(name.endswith(".weights.h5") for name in names):
        raise _refused(path, "a Keras model", _EXPORT, trust)
    raise _refused(path, f"a ZIP archive ({listing(names, 3)})", _UNPACK, trust)


def _whole_safetensors(path: Path, head: bytes, trust: bool) -> str:
    # Eight bytes with the size of the header, the header in JSON, and the tensors.
    size, length = int.from_bytes(head[:8], "little"), path.stat().st_size
    if 8 + size > length:
        what = f"truncated (its header alone has {size:,} bytes, the file {length:,}) or damaged"
        raise _refused(path, what, "copy it again", trust)
    return "safetensors"


def _fault(path: Path, head: bytes) -> tuple[str, str] | None:
    if not head:
        return "empty (0 bytes), truncated or damaged", "copy it again, or use an earlier one"
    for kind in BY_BYTES:
        if re.match(kind.mark.encode(), head, re.DOTALL):
            old = kind.name == "a tar archive" and b"sys_info" in head
            name = "a tar archive of PyTorch 0.1" if old else kind.name
            return name, _SAVE if old else kind.remedy
    for kind in BY_NAME:
        if re.fullmatch(kind.mark, path.name):
            return kind.name, kind.remedy
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        if len(head) > 20 and _TORCH_MAGIC not in head[:32]:
            return "a pickle that torch.save did not write", _SAVE
        return None
    if re.match(rb"c[\w.]+\n\w+\n", head):  # A pickle of protocol 0, which is written as text.
        return None
    text = head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    if text.isascii() and all(c.isprintable() or c.isspace() for c in text):
        return f"a text file, which begins with {text.strip()[:40]!r}", "pass the checkpoint itself"
    return None


def _inside(path: Path) -> str:
    names = list(islice((p.name for p in path.iterdir()), _MOST))
    inner = [path / name for name in sorted(names)[:20] if (path / name).is_dir()]
    below = [p.name for folder in inner for p in islice(folder.iterdir(), _MOST)]
    for kind in FOLDERS:
        if filter_names([*names, *below], kind.mark):
            return f" ({kind.name}): {kind.remedy.format(path)}"
    files = sorted(name for name in names if name.endswith(_WEIGHTS))
    if files:
        return f": pass one of its files ({listing(files)})"
    return " without checkpoints: pass a file"


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"checkpoint {path} cannot be read ({error.strerror}): check the path, and the permissions "
        "of the file and its folders"
    )


def _refused(path: Path, what: str, remedy: str, trust: bool = False) -> InputError:
    even = " even with --trust-checkpoint" if trust else ""
    return InputError(f"checkpoint {path} cannot be read{even}: it is {what}; {remedy}")
