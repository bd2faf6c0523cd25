"""Maps of a transformer's blocks: equal to timm's with converted weights, at any size."""

import pytest
import timm
import torch
from mmengine.registry import init_default_scope
from mmseg.models import Feature2Pyramid

from bam_mm import InputError
from bam_mm.checkpoint import load_backbone
from bam_mm.registry import MODELS
from tests.models.families import saved_elements

pytestmark = pytest.mark.slow

BASE = dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072)
TINY = dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=96)


def build(**kwargs):
    init_default_scope("mmdet")
    return MODELS.build(dict(type="bam_mm.DenseViT", **kwargs))


def tiny(**kwargs):
    torch.manual_seed(0)
    settings = dict(arch=TINY, img_size=32, patch_size=8, blocks=[0, 1, 3])
    model = build(**{**settings, **kwargs})
    model.init_weights()
    return model


def timm_file(path, **kwargs):
    """Save a checkpoint of timm with weights that no initialisation produces."""
    torch.manual_seed(0)
    model = timm.create_model("vit_base_patch16_224", num_classes=0, **kwargs).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    torch.save(model.state_dict(), path)
    return model


def test_maps_of_the_full_vit_b_equal_timms(tmp_path):
    theirs = timm_file(tmp_path / "vit.pth")
    ours = build(arch=BASE, blocks=[3, 5, 7, 11], img_size=224, patch_size=16).eval()
    report = load_backbone(ours, tmp_path / "vit.pth")
    assert report.loaded == len(ours.state_dict()) == len(theirs.state_dict())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        raw, normed = (
            theirs.forward_intermediates(
                images, indices=[3, 5, 7, 11], norm=with_norm, intermediates_only=True
            )
            for with_norm in (False, True)
        )
        for norm, wanted in (("none", raw), ("all", normed), ("last", [*raw[:3], normed[3]])):
            ours.norm = norm
            for a, b in zip(ours(images), wanted, strict=True):
                assert a.shape == (1, 768, 14, 14)
                assert (a - b).abs().max() < 1e-5 * b.abs().max()


def test_pyramid_and_resized_position_embedding_at_another_size(tmp_path):
    """30 x 42 patches: the maps equal those of a timm network that was built for this size."""
    small = timm_file(tmp_path / "vit.pth", depth=4)
    ours = build(arch={**BASE, "num_layers": 4}, blocks=[0, 1, 2, 3], img_size=224).eval()
    load_backbone(ours, tmp_path / "vit.pth")
    state = small.state_dict()
    places = state["pos_embed"][:, 1:].reshape(1, 14, 14, 768).permute(0, 3, 1, 2)
    places = torch.nn.functional.interpolate(places, size=(30, 42), mode="bicubic")
    places = places.permute(0, 2, 3, 1).reshape(1, 30 * 42, 768)
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], places], dim=1)
    large = timm.create_model(
        "vit_base_patch16_224", num_classes=0, depth=4, img_size=(480, 672)
    ).eval()
    large.load_state_dict(state)
    images = torch.randn(1, 3, 480, 672)
    pyramid = Feature2Pyramid(768, norm_cfg=dict(type="BN")).eval()
    with torch.no_grad():
        maps = ours(images)
        wanted = large.forward_intermediates(images, indices=[3], intermediates_only=True)[0]
        levels = pyramid(maps)
    assert (maps[3] - wanted).abs().max() < 1e-5 * wanted.abs().max()
    assert [tuple(x.shape) for x in levels] == [
        (1, 768, 480 // s, 672 // s) for s in (4, 8, 16, 32)
    ]
    assert all(torch.isfinite(x).all() for x in levels)


@pytest.mark.parametrize("norm, frozen", [("none", {"layers.3", "ln1"}), ("all", {"layers.3"})])
def test_parameters_that_the_maps_do_not_depend_on_are_frozen(norm, frozen):
    model = tiny(blocks=[0, 2], norm=norm)
    sum(x.sum() for x in model(torch.randn(2, 3, 32, 32))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
        assert parameter.requires_grad != name.startswith(tuple(frozen)), name


def test_drop_path_rises_from_block_to_block():
    model = tiny(drop_path_rate=0.3)
    rates = [layer.attn.out_drop.drop_prob for layer in model.layers]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])


def test_activation_checkpointing_saves_memory_and_changes_no_gradient():
    plain = tiny(drop_path_rate=0.2)
    saving = tiny(drop_path_rate=0.2, activation_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 40, 48)
    kept = []
    for model in (plain, saving):
        torch.manual_seed(1)
        with saved_elements() as saved:
            maps = model.train()(images)
        kept.append(sum(saved))
        sum((x**2).sum() for x in maps).backward()
    assert kept[1] < kept[0] / 2
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        assert a.grad is None or torch.equal(a.grad, b.grad), name


def test_a_frozen_backbone_trains_nothing_and_stays_in_evaluation_mode():
    model = tiny(frozen=True, drop_path_rate=0.5)
    model.train()
    images = torch.randn(2, 3, 32, 32)
    assert not model.training and not model.layers[3].training
    assert all(torch.equal(a, b) for a, b in zip(model(images), model(images), strict=True))
    assert not any(x.requires_grad for x in model(images))


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(norm="some"), r"backbone\.norm='some': choose one of none, last, all"),
        (dict(blocks=[1, 4]), r"backbone\.blocks=\[1, 4\]: choose numbers from 0 to 3"),
        (dict(blocks=[2, 1]), r"backbone\.blocks=\[2, 1\].*ascending"),
        (dict(blocks=[]), r"backbone\.blocks=\[\]"),
        (dict(blocks=2), r"backbone\.blocks=2: choose numbers from 0 to 3, in a list"),
        (dict(blocks=["a", "b"]), r"backbone\.blocks=\['a', 'b'\]: choose numbers"),
    ],
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(InputError, match=message):
        tiny(**wrong)


def test_a_checkpoint_of_another_architecture(tmp_path):
    torch.save(tiny(arch={**TINY, "num_layers": 5}).state_dict(), tmp_path / "deeper.pth")
    with pytest.raises(InputError, match=r"deeper\.pth does not hold .* left over: layers\.4"):
        load_backbone(tiny(), tmp_path / "deeper.pth")
