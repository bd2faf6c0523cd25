"""The index of models and the READMEs of the configs name every config, and nothing else."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain import get_model, list_models
from mmpretrain.apis import ModelHub
from modelindex.load_model_index import load

from bam_mm.registry import MODELS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("pretrain", "methods", "cls", "det", "seg", "vos", "suites")
LISTED = FOLDERS[:-1]
TASKS = {
    "cls": {"Image Classification", "Self-Supervised Image Classification", "Image Clustering"},
    "det": {"Object Detection", "Instance Segmentation"},
    "seg": {"Semantic Segmentation"},
    "vos": {"Video Object Segmentation"},
}


def entries(*folders):
    return [
        entry
        for folder in folders or LISTED
        for entry in yaml.safe_load((ROOT / f"configs/{folder}/metafile.yml").read_text())["Models"]
    ]


@cache
def config_of(path):
    return Config.fromfile(str(ROOT / path))


def test_every_config_is_listed_once_under_its_own_name():
    paths = sorted(path for folder in LISTED for path in (ROOT / "configs" / folder).glob("*.py"))
    assert sorted(entry["Config"] for entry in entries()) == [
        str(path.relative_to(ROOT)) for path in paths
    ]
    assert all(Path(entry["Config"]).stem == entry["Name"] for entry in entries())
    # There are no published weights.
    assert not any("Weights" in entry for entry in entries())


@pytest.mark.parametrize("folder", LISTED)
def test_results_name_tasks_and_no_numbers(folder):
    results = [entry["Results"] for entry in entries(folder)]
    if folder in ("pretrain", "methods"):
        assert not any(results)
        return
    assert all(results) and {each["Task"] for found in results for each in found} == TASKS[folder]
    # Nothing was measured with these configs and published weights.
    assert all(each["Dataset"] and each["Metrics"] == {} for found in results for each in found)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_config_has_a_row_in_the_readme_and_every_row_a_config(folder):
    text = (ROOT / "configs" / folder / "README.md").read_text()
    rows = re.findall(r"^\| `([^`]*)\.py` \|", text, flags=re.M)
    files = {path.stem for path in (ROOT / "configs" / folder).glob("*.py")}
    assert len(rows) == len(set(rows)) and set(rows) == files


def test_every_folder_of_configs_has_a_readme():
    folders = {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()}
    assert folders - {"_base_"} == set(FOLDERS)


@pytest.mark.parametrize("folder", LISTED)
def test_lengths_and_batch_sizes_match_the_configs(folder):
    for entry in entries(folder):
        config, facts = config_of(entry["Config"]), entry["Metadata"]
        loop = config.get("train_cfg") or {}
        assert facts.get("Epochs") == loop.get("max_epochs"), entry["Name"]
        assert facts.get("Iterations") == loop.get("max_iters"), entry["Name"]
        if loop:
            gpus = int(re.search(r"_(\d+)xb", entry["Name"])[1])
            assert facts["Batch Size"] == gpus * config.train_dataloader.batch_size, entry["Name"]


def without_weights(backbone):
    try:
        with torch.device("meta"):
            return MODELS.build(backbone)
    except RuntimeError:  # A ResNet computes the rates of its drop path with tensors.
        return MODELS.build(backbone)


def test_parameters_match_the_backbone():
    counts = {}
    for entry in entries():
        config = config_of(entry["Config"])
        init_default_scope(config.default_scope)
        key = json.dumps(config.model.backbone, sort_keys=True)
        if key not in counts:
            backbone = without_weights(config.model.backbone)
            counts[key] = sum(p.numel() for p in backbone.parameters())
        assert entry["Metadata"]["Parameters"] == counts[key], entry["Name"]
    assert len(counts) >= 8


def test_the_index_imports_every_metafile():
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("metafile.yml")}
    assert set(index["Import"]) == found


def test_openmmlab_tools_can_read_the_index():
    index = load(str(ROOT / "model-index.yml"))
    index.build_models_with_collections()
    models = {model.name: model for model in index.models}
    assert set(models) == {entry["Name"] for entry in entries()}
    one = models["bam_vit-base-p16_16xb256-amp-coslr-300e_in1k"]
    assert one.metadata.epochs == 300 and one.in_collection == "BAM"
    assert index.collections[0].paper["URL"] == "https://arxiv.org/abs/2408.02014"
    for model in models.values():
        model.check()
        # The field is there but empty: nothing is measured.
        faults = [fault for fault in model.check_errors if "Results" not in fault]
        assert not faults and Path(ROOT / model.config).is_file()
    for collection in index.collections:
        assert (ROOT / collection.readme).is_file(), collection.name


@pytest.fixture
def hub(monkeypatch):
    """mmpretrain's list of models, with those of this package."""
    ModelHub._register_mmpretrain_models()
    monkeypatch.setattr(ModelHub, "_models_dict", dict(ModelHub._models_dict))
    before = len(ModelHub._models_dict)
    ModelHub.register_model_index(ROOT / "model-index.yml", config_prefix=ROOT)
    assert len(ModelHub._models_dict) == before + len(entries())
    return ModelHub


def test_mmpretrain_finds_and_builds_them(hub):
    found = list_models("vit-toy-p8_1xb64*", task="Image Classification")
    linear = ["linear-coslr-10e_toy", "linear-many-coslr-4e_toy"]
    assert found == [f"vit-toy-p8_1xb64-{name}" for name in ("coslr-4e_toy", *linear)]
    assert len(list_models("*davis2017", task="Video Object Segmentation")) == 4
    model = get_model(found[1])
    assert type(model).__name__ == "FrozenBackboneClassifier"
    assert type(get_model("bam_vit-toy-p8_1xb64-coslr-12e_toy")).__name__ == "BAM"
