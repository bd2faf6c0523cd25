"""Norms that detectors and segmentors add to a backbone are named in the proof, not missing."""

import pytest
import torch
from mmengine.registry import MODELS

import bam_mm  # noqa: F401
from bam_mm import InputError
from bam_mm.checkpoint import load_backbone

_ARCH = dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1])
_SWIN = dict(type="mmpretrain.SwinTransformer", arch=_ARCH, img_size=64, window_size=2)
_CONVNEXT = dict(
    type="mmpretrain.ConvNeXt",
    arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8]),
    gap_before_final_norm=False,
)
_FAMILIES = {
    "mmdet-swin": (_SWIN, dict(type="mmdet.SwinTransformer", window_size=2, **_ARCH)),
    "mmpretrain-swin": (_SWIN, dict(_SWIN, out_indices=(0, 1, 2, 3))),
    "mmpretrain-convnext": (_CONVNEXT, dict(_CONVNEXT, out_indices=(0, 1, 2, 3))),
}
ADDED = [f"norm{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]


@pytest.fixture(scope="module", params=_FAMILIES)
def pair(request, tmp_path_factory):
    """A file of a classifier's backbone, and the config of the same one with four outputs."""
    classifier, dense = _FAMILIES[request.param]
    state = MODELS.build(classifier).state_dict()
    state = {k: v + 0.5 if v.is_floating_point() else v for k, v in state.items()}
    path = tmp_path_factory.mktemp("files") / "classifier.pth"
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in state.items()}}, path)
    return path, state, dense


def test_norms_of_other_outputs_are_named_and_keep_their_values(pair):
    path, state, dense = pair
    backbone = MODELS.build(dense)
    report = load_backbone(backbone, path)
    own = backbone.state_dict()
    assert sorted(report.added) == sorted(ADDED) and report.loaded == len(own) - len(ADDED)
    assert "added for outputs, at their initial values: norm0.weight" in str(report)
    assert all(torch.equal(own[k], v) for k, v in state.items())
    assert all(torch.equal(own[k], torch.full_like(own[k], "weight" in k)) for k in ADDED)


def test_norms_in_the_file_are_loaded_and_others_must_be_there(pair, tmp_path):
    _, state, dense = pair
    full = state | {key: torch.full((8 * 2 ** int(key[4]),), 0.25) for key in ADDED}
    if "ConvNeXt" in dense["type"]:
        full = state | {key: torch.full((8,), 0.25) for key in ADDED}
    torch.save(full, tmp_path / "detector.pth")
    backbone = MODELS.build(dense)
    assert load_backbone(backbone, tmp_path / "detector.pth").added == []
    assert all((backbone.state_dict()[key] == 0.25).all() for key in ADDED)
    del full["norm3.bias"], full["norm0.bias"]
    torch.save(full, tmp_path / "detector.pth")
    with pytest.raises(InputError, match=r"2 missing: norm0.bias, norm3.bias"):
        load_backbone(backbone, tmp_path / "detector.pth")


def test_a_backbone_states_its_own_additions(tmp_path):
    backbone = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    torch.save({"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2)}, tmp_path / "file.pth")
    with pytest.raises(InputError, match=r"2 missing: 1.weight, 1.bias"):
        load_backbone(backbone, tmp_path / "file.pth")
    backbone.added_parameters = ("1.weight", "1.bias")
    assert load_backbone(backbone, tmp_path / "file.pth").added == ["1.weight", "1.bias"]
    torch.save({"0.weight": torch.ones(2, 2)}, tmp_path / "file.pth")
    with pytest.raises(InputError, match=r"1 missing: 0.bias"):
        load_backbone(backbone, tmp_path / "file.pth")


def test_norms_within_a_network_are_not_additions(tmp_path):
    arch = dict(embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[1] * 4)
    backbone = MODELS.build(dict(type="mmpretrain.VAN", arch=arch, out_indices=(0, 1, 2, 3)))
    state = backbone.state_dict()
    del state["norm1.weight"]
    torch.save(state, tmp_path / "file.pth")
    with pytest.raises(InputError, match=r"1 missing: norm1.weight"):
        load_backbone(backbone, tmp_path / "file.pth")


def test_a_network_inside_another_module_is_the_one_of_the_file(tmp_path):
    outer = torch.nn.Module()
    outer.wraps, outer.inner, outer.norm = "inner", torch.nn.Linear(2, 2), torch.nn.LayerNorm(2)
    torch.save({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, tmp_path / "file.pth")
    assert load_backbone(outer, tmp_path / "file.pth").loaded == 2
    assert torch.equal(outer.inner.weight, torch.ones(2, 2))


def test_the_norm_after_the_average_of_a_pretrained_beit(tmp_path):
    arch = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=16)
    small = dict(arch=arch, img_size=16, patch_size=4)
    state = MODELS.build(dict(type="mmpretrain.BEiTPretrainViT", **small)).state_dict()
    path = tmp_path / "beit.pth"
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in state.items()}}, path)
    backbone = MODELS.build(dict(type="mmpretrain.BEiTViT", final_norm=True, **small))
    assert load_backbone(backbone, path).added == ["ln2.weight", "ln2.bias"]
    # Without a norm before the average, the one after it belongs to the network.
    backbone = MODELS.build(dict(type="mmpretrain.BEiTViT", **small))
    with pytest.raises(InputError, match=r"ln2\.weight"):
        load_backbone(backbone, path)
