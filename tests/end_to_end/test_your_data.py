"""Every config and every command of docs/your_data.md, on small data of the same names."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from bam_mm.data.indexed_png import voc_palette
from bam_mm.launch.config import load_config
from tests.end_to_end.own_data import CATEGORIES, FRAMES, write_all
from tests.end_to_end.running import exit_code, one_message, printed
from tests.pages import blocks, commands, python_files

ROOT = Path(__file__).resolve().parents[2]
NAME = "docs/your_data.md"
PAGE = (ROOT / NAME).read_text()
LOADERS = """
for loader in (train_dataloader, val_dataloader, test_dataloader):
    loader.update(num_workers=0, persistent_workers=False)
"""
EPOCH = f"{LOADERS}train_dataloader.update(batch_size=4)\n"
EPOCH += "train_cfg = dict(max_epochs=1, val_interval=1)\n"
STEPS = f"{LOADERS}train_dataloader.update(batch_size=2)\n"
STEPS += "train_cfg = dict(max_iters=2, val_interval=2)\n"
STEPS += "default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))\n"
FEATURES = "test_dataloader.update(num_workers=0)\ntest_cfg.update(cache_dir=None)\n"
SHORT = {
    "birds_pretrain": "train_dataloader.update(batch_size=8, num_workers=0, "
    "persistent_workers=False)\ntest_dataloader.update(num_workers=0)\n"
    "test_cfg['bank'].update(num_workers=0)\ntrain_cfg = dict(max_epochs=1)\n"
    "_base_.custom_hooks[2].update(k=5)\ncustom_hooks = _base_.custom_hooks\n",
    "birds_knn": FEATURES + "test_cfg['bank'].update(num_workers=0)\n",
    "plants_knn": FEATURES + "test_cfg['bank'].update(num_workers=0)\n",
    "birds_logreg": FEATURES + "test_cfg['train'].update(num_workers=0)\n",
    "plants_linear": EPOCH.replace("=4", "=100"),
    **dict.fromkeys(["birds_linear", "birds_finetune"], EPOCH),
    "orchard": EPOCH + "val_evaluator.update(outfile_prefix='orchard')\n"
    "model.update(test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=20)))\n",
    **dict.fromkeys(["street", "fields"], STEPS),
}
"""What shortens each config of the page; the lines above it stay as they are."""


def short_commands():
    """Return the commands of the page, with the lengths of the short configs."""

    def short(word):
        return re.sub(r"epoch_\d+", "epoch_1", re.sub(r"iter_\d+", "iter_2", word))

    return [[short(word) for word in words] for words in commands(NAME, start="") if words]


CONFIGS = {name.removesuffix(".py"): text for name, text in python_files(NAME).items()}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The user's folder, with all data and the configs of the page."""
    folder = tmp_path_factory.mktemp("project")
    write_all(folder)
    for name, text in CONFIGS.items():
        (folder / f"{name}.py").write_text(text + SHORT[name])
    return folder


@pytest.fixture
def run(project, monkeypatch, capfd):
    """A function that runs a command in the user's folder, in this process."""
    monkeypatch.chdir(project)
    pretty = Config.pretty_text

    def call(*arguments):
        # mmengine formats each config several times for its log, which takes a second per run. The
        # checkpoint of the pretraining records its config, from which others build the backbone.
        text = pretty if "birds_pretrain.py" in arguments else ""
        monkeypatch.setattr(Config, "pretty_text", text)
        return exit_code(*arguments), *printed(capfd)

    return call


def test_the_page_names_what_there_is(project):
    """The trees are those of the data, and every config of the last table exists."""
    written = [line for text in blocks(NAME, "text") for line in text.splitlines()]
    inputs = [line for line in written if re.match(r"data/|film\.|film_mask\.", line)]
    assert len(inputs) > 15 and not [line for line in inputs if not (project / line).is_file()]
    named = re.findall(r"\b(?:pretrain|cls|det|seg|vos)/[\w.-]+\.py", PAGE)
    paths = [ROOT / "configs" / name for name in named]
    assert len(paths) > 20 and not [path for path in paths if not path.is_file()]
    assert all(len(text.splitlines()) < 22 for text in CONFIGS.values())


def test_all_commands(project, run):
    """In the order of the page, as each uses what those before it have written."""
    found = short_commands()
    assert len(found) > 15 and {command[0] for command in found} == {"bam-mm"}
    text, detections = {}, []
    for command in found:
        code, output, _ = run(*command[1:])
        assert code == 0 and "Traceback" not in output, (command, output[-3000:])
        text[" ".join(command[1:4])] = output
        if "orchard.py" in command and {"test", "mmdet:test"} & set(command):
            detections.append(json.loads(Path("orchard.bbox.json").read_text()))
            Path("orchard.bbox.json").unlink()
    assert "kNN after 2 iterations (k=5, bank 10, queries 8)" in text["train birds_pretrain.py"]
    assert "2 classes and 20 images in data/birds/learn" in text["check-data folder data/birds"]
    knn, logreg, linear, plants, orchard, street = (
        json.loads((project / f"{name}.json").read_text())
        for name in ("knn", "logreg", "linear", "plants", "orchard", "street")
    )
    # The class is the colour of the image: one of 2 is right by chance, and one of 300 plants.
    assert knn["knn_k20/top1"] > 80 and "knn_k20/top5" not in knn
    assert logreg["logreg/top1"] > 80 and linear["accuracy/top1"] > 80
    assert plants["knn_k1/top1"] > 80
    assert orchard.keys() >= {"coco/bbox_mAP", "coco/segm_mAP"} and street["mIoU"] > 0
    assert "loaded all 54 tensors" in text["exec mmpretrain:train birds_finetune.py"]
    assert "loaded all 54 tensors" in text["exec mmseg:train street.py"]
    # mmdet's own tool reads the same classes and images.
    assert len(detections) == 2 and detections[0] == detections[1]
    assert {found["category_id"] for found in detections[0]} == set(CATEGORIES)
    both = ("train street.py --cfg-options", "exec mmseg:train street.py")
    losses = [re.findall(r" loss: (\S+)", text[key]) for key in both]
    assert len(losses[0]) == 2 and losses[0] == losses[1]
    assert_the_videos_have_masks(project)


def assert_the_videos_have_masks(project):
    for folder, names in (
        ("film_masks", [f"{t:05d}" for t in range(FRAMES)]),
        ("ride_masks", ["frame_10", "frame_11", "frame_12", "frame_2"]),
    ):
        masks = sorted((project / folder / "masks").iterdir())
        assert [mask.stem for mask in masks] == names
        images = [Image.open(mask) for mask in masks]
        assert all(image.getpalette() == voc_palette() for image in images)
        assert (project / folder / "overlay.mp4").stat().st_size > 1000
    given = np.array(Image.open(project / "data/ride_mask.png"))
    assert np.array_equal(np.array(Image.open(project / "ride_masks/masks/frame_11.png")), given)


LARGE = dict(re.findall(r"^\| `(\S+\.py)` \| `(\S+\.py)` \|$", PAGE, flags=re.M))


BASES = {name: re.search(r"bam_mm::(\S+\.py)", text)[1] for name, text in CONFIGS.items()}


@pytest.mark.parametrize("name", [name for name, base in BASES.items() if base in LARGE])
def test_the_configs_for_a_gpu(name, project, monkeypatch):
    """Another base, and still all data, classes and heads are the user's."""
    monkeypatch.chdir(project)
    text = CONFIGS[name].replace(BASES[name], LARGE[BASES[name]])
    (project / "large.py").write_text(text)
    large, small = load_config("large.py"), load_config(f"{name}.py")
    for loader in ("train_dataloader", "test_dataloader", "test_cfg", "val_evaluator"):
        theirs, ours = (_entries(config.get(loader) or {}) for config in (large, small))
        assert theirs == ours and (theirs or loader != "test_dataloader"), loader
    heads = _entries({k: v for k, v in large.model.items() if "head" in k})
    assert heads == _entries({k: v for k, v in small.model.items() if "head" in k})


def _entries(node, key=""):
    """Return the entries of a config that belong to the user's data."""
    if isinstance(node, dict):
        return {
            k: v for name, each in node.items() for k, v in _entries(each, f"{key}.{name}").items()
        }
    if isinstance(node, (list, tuple)) and node and isinstance(node[0], dict):
        return {
            k: v for i, each in enumerate(node) for k, v in _entries(each, f"{key}.{i}").items()
        }
    own = ("data_root", "split", "classes", "num_classes", "reduce_zero_label", "ann_file", "img",
           "img_path", "seg_map_path")  # fmt: skip
    return {key: node} if key.rpartition(".")[2] in own else {}


FORGOTTEN = [
    ("birds_linear", "num_classes = 2", "num_classes = 9", ["9 outputs", "has 2", "num_classes=2"]),
    ("orchard", ", metainfo=metainfo", "", ["metainfo", "set train_dataloader.dataset.metainfo"]),
    ("orchard", "metainfo = .*\n|, metainfo=metainfo", "",
     ["apple", "pear", "leaf", "metainfo.classes"]),
    ("orchard", '"pear"', '"plum"', ["plum", "pear"]),
    ("street", "    reduce_zero_label=False,\n", "", ["reduce_zero_label is not set", "0 to 3"]),
    ("street", "label=False", "label=True", ["reduce_zero_label=True ignores 0", "'person'"]),
    ("fields", "label=True", "label=False", ["=False counts 4 classes", "run from 1 to 4"]),
    ("street", r"\*\*street, data_prefix=south", "**dict(street, reduce_zero_label=True)",
     ["train_dataloader.dataset.reduce_zero_label is False, but that of val"]),
    ("street", r"dict\(classes=", "dict(names=", ["no names of classes"]),
]  # fmt: skip


@pytest.mark.parametrize("name, line, other, words", FORGOTTEN)
def test_what_is_forgotten_is_named(name, line, other, words, project, run):
    """A user changes or leaves out one line: one message before the first iteration."""
    text = (project / f"{name}.py").read_text()
    changed = re.sub(line, other, text)
    assert changed != text
    (project / "changed.py").write_text(changed)
    result = run("train", "changed.py", "--cfg-options", "checkpoint=random")
    one_message(result, *words)


@pytest.mark.parametrize(
    "library, name, line, other, words",
    [
        ("mmseg", "street", "label=False", "label=True", "reduce_zero_label=True ignores 0"),
        ("mmpretrain", "birds_finetune", "num_classes = 2", "num_classes = 9", "has 9 outputs"),
    ],
)
def test_the_libraries_own_tools_check_the_data(library, name, line, other, words, project, run):
    text = (project / f"{name}.py").read_text()
    (project / "changed.py").write_text(text.replace(line, other))
    random = ["--cfg-options", "checkpoint=random"]
    code, output, _ = run("exec", f"{library}:train", "changed.py", "--work-dir", library, *random)
    assert code == 1 and words in output
    assert not list((project / library).glob("*.pth"))
