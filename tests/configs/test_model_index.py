"""The index of models and the READMEs of the configs name every config, and nothing else."""

import json
import re
from pathlib import Path

import pytest
import yaml
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from modelindex.load_model_index import load

from bam_mm.launch.config import load_config

ROOT = Path(__file__).resolve().parents[2]
STEMS = {path.stem for path in (ROOT / "configs/pretrain").glob("*.py")}
FOLDERS = ("pretrain", "cls", "det", "seg", "vos", "suites")
METAFILE = ROOT / "configs/pretrain/metafile.yml"


def entries():
    return yaml.safe_load(METAFILE.read_text())["Models"]


def test_every_config_has_an_entry_and_every_entry_a_config():
    names = [entry["Name"] for entry in entries()]
    assert len(names) == len(set(names)) and set(names) == STEMS
    for entry in entries():
        assert entry["Config"] == f"configs/pretrain/{entry['Name']}.py"
        # There are no measured results and no published weights.
        assert entry["Results"] is None and "Weights" not in entry


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_config_has_a_row_in_the_readme_and_every_row_a_config(folder):
    text = (ROOT / "configs" / folder / "README.md").read_text()
    rows = re.findall(r"^\| `([^`]*)\.py` \|", text, flags=re.M)
    files = {path.stem for path in (ROOT / "configs" / folder).glob("*.py")}
    assert len(rows) == len(set(rows)) and set(rows) == files


def test_every_folder_of_configs_has_a_readme():
    folders = {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()}
    assert folders - {"_base_"} == set(FOLDERS)


@pytest.mark.parametrize("entry", entries(), ids=lambda e: e["Name"])
def test_epochs_and_batch_size_match_the_config(entry):
    config = load_config(ROOT / entry["Config"])
    assert entry["Metadata"]["Epochs"] == config.train_cfg.max_epochs
    gpus = int(re.search(r"_(\d+)xb", entry["Name"])[1])
    assert entry["Metadata"]["Batch Size"] == gpus * config.train_dataloader.batch_size


def test_parameters_match_the_backbone():
    init_default_scope("mmpretrain")
    counts = {}
    for entry in entries():
        backbone = load_config(ROOT / entry["Config"]).model.backbone
        key = json.dumps(backbone, sort_keys=True)
        if key not in counts:
            counts[key] = sum(p.numel() for p in MODELS.build(backbone).parameters())
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
    assert set(models) >= STEMS
    one = models["bam_vit-base-p16_16xb256-amp-coslr-300e_in1k"]
    assert one.metadata.epochs == 300 and one.in_collection == "BAM"
    assert index.collections[0].paper["URL"] == "https://arxiv.org/abs/2408.02014"
