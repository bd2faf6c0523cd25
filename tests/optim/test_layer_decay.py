"""Learning rate and weight decay of every parameter, compared with a table of all names."""

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm import InputError
from bam_mm.optim import LayerDecayOptimWrapperConstructor
from bam_mm.optim.layer_decay import parameter_depths
from bam_mm.registry import MODELS
from tests.models.families import FAMILIES
from tests.models.small_caformer import SMALL

LR, WD = 1e-4, 0.05


class Segmentor(nn.Module):
    """A backbone between a neck and a head, as in mmdet and mmseg."""

    def __init__(self, config):
        super().__init__()
        init_default_scope("mmseg")
        self.neck = nn.ConvTranspose2d(3, 3, 2)
        self.backbone = MODELS.build(config)
        self.head = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))


def groups_of(model, **paramwise):
    constructor = LayerDecayOptimWrapperConstructor(
        dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=LR, weight_decay=WD)),
        paramwise_cfg=paramwise,
    )
    optimizer = constructor(model).optimizer
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


def vit(blocks=12, width=24, **kwargs):
    arch = dict(embed_dims=width, num_layers=blocks, num_heads=2, feedforward_channels=width)
    return dict(
        type="bam_mm.DenseViT",
        arch=arch,
        img_size=32,
        patch_size=16,
        norm="all",
        blocks=[blocks - 1],
        **kwargs,
    )


def table_of_vit_b():
    """Write out BEiT's rule for twelve blocks: 13 steps from the patches to the heads."""
    at = {depth: LR * 0.75 ** (13 - depth) for depth in range(14)}
    table = {
        "backbone.cls_token": (at[0], 0.0),
        "backbone.pos_embed": (at[0], 0.0),
        "backbone.patch_embed.projection.weight": (at[0], WD),
        "backbone.patch_embed.projection.bias": (at[0], 0.0),
        "backbone.ln1.weight": (at[13], 0.0),
        "backbone.ln1.bias": (at[13], 0.0),
        "neck.weight": (at[13], WD),
        "neck.bias": (at[13], 0.0),
        "head.0.weight": (at[13], WD),
        "head.0.bias": (at[13], 0.0),
        "head.1.weight": (at[13], 0.0),
        "head.1.bias": (at[13], 0.0),
    }
    for block in range(12):
        for matrix in ("attn.qkv", "attn.proj", "ffn.layers.0.0", "ffn.layers.1"):
            table[f"backbone.layers.{block}.{matrix}.weight"] = (at[block + 1], WD)
            table[f"backbone.layers.{block}.{matrix}.bias"] = (at[block + 1], 0.0)
        for norm in ("ln1", "ln2"):
            table[f"backbone.layers.{block}.{norm}.weight"] = (at[block + 1], 0.0)
            table[f"backbone.layers.{block}.{norm}.bias"] = (at[block + 1], 0.0)
    return table


def test_every_parameter_of_vit_b():
    model = Segmentor(vit(width=768))
    table, found = table_of_vit_b(), groups_of(model, layer_decay_rate=0.75)
    assert set(found) == set(table) == {n for n, _ in model.named_parameters()}
    for name, wanted in table.items():
        assert found[name] == pytest.approx(wanted, rel=1e-12), name
    # Two of them as numbers: .75^13 and .75 times the learning rate.
    assert found["backbone.pos_embed"][0] == pytest.approx(2.3757264e-6, rel=1e-6)
    assert found["backbone.layers.11.ln1.weight"][0] == pytest.approx(7.5e-5)


def test_decay_embeddings_decays_the_embeddings_and_nothing_else():
    model = Segmentor(vit())
    plain = groups_of(model, layer_decay_rate=0.75)
    found = groups_of(model, layer_decay_rate=0.75, decay_embeddings=True)
    changed = {name for name in plain if plain[name] != found[name]}
    assert changed == {"backbone.cls_token", "backbone.pos_embed"}
    assert all(found[name] == (plain[name][0], WD) for name in changed)


def test_depths_of_a_resnet():
    resnet = dict(type="mmpretrain.ResNet", depth=50, out_indices=(0, 1, 2, 3))
    depths = parameter_depths(Segmentor(resnet))
    # 3 + 4 + 6 + 3 blocks.
    assert depths["backbone.conv1.weight"] == depths["backbone.bn1.bias"] == 0
    assert (
        depths["backbone.layer1.0.conv1.weight"]
        == depths["backbone.layer1.0.downsample.0.weight"]
        == 1
    )
    assert depths["backbone.layer2.0.conv1.weight"] == 4
    assert depths["backbone.layer4.2.bn3.weight"] == 16
    assert depths["neck.weight"] == depths["head.0.weight"] == 17


def test_the_downsampling_of_a_pyramid_belongs_to_the_next_block():
    depths = parameter_depths(Segmentor({**SMALL, "type": "bam_mm.DenseCAFormer"}))
    by_stage = {}
    for name, depth in depths.items():
        parts = name.split(".")
        if parts[2:3] == ["stages"]:
            by_stage.setdefault(int(parts[3]), {}).setdefault(parts[4], set()).add(depth)
    assert {d for n, d in depths.items() if ".stem." in n} == {0}
    first = 1
    for stage in sorted(by_stage):
        assert by_stage[stage].get("downsample", {first}) == {first}
        first += len(by_stage[stage]["blocks"])
    assert {d for n, d in depths.items() if "head.norm" in n} == {first}
    assert depths["neck.weight"] == first == max(depths.values())


BLOCKS = {
    "timm-swin": 4, "timm-convnext": 4, "timm-efficientnet": 16, "timm-resnet": 8, "timm-dinov3": 3,
    "mmpretrain-swin": 4, "mmpretrain-convnext": 4, "mmpretrain-efficientnet": 16,
    "mmpretrain-mvit": 4, "mmpretrain-resnet": 8, "mmpretrain-beit": 4, "torchvision-swin": 4,
    "torchvision-convnext": 4, "torchvision-resnet": 4, "torchvision-vit": 3,
}  # fmt: skip
"""Number of residual blocks of small networks: depths of stages, two for each stage of a ResNet-18
(torchvision's has one), and the 16 blocks of EfficientNet-B0 and Lite0."""


@pytest.mark.parametrize("name", BLOCKS)
def test_depths_of_every_family(name):
    [family] = [family for family in FAMILIES if family.name == name]
    depths = parameter_depths(Segmentor(family.config))
    top = BLOCKS[name] + 1
    assert max(depths.values()) == top == depths["neck.weight"]
    backbone = [depth for n, depth in depths.items() if n.startswith("backbone.")]
    assert {*backbone} >= {*range(top)}
    # The stem comes first, and no block is before the one that feeds it.
    inside = [depth for depth in backbone if 0 < depth < top]
    assert backbone[0] == 0 and inside == sorted(inside)


def test_frozen_parameters_are_left_out_and_a_rate_of_1_scales_nothing():
    model = Segmentor(vit(frozen=True))
    found = groups_of(model, layer_decay_rate=1.0)
    assert set(found) == {n for n, _ in model.named_parameters() if not n.startswith("backbone.")}
    assert {lr for lr, _ in found.values()} == {LR}


def test_wrong_options():
    model = Segmentor(vit())
    with pytest.raises(InputError, match="takes layer_decay_rate, above 0 and at most 1"):
        groups_of(model, layer_decay_rate=1.5)
    with pytest.raises(InputError, match=r"paramwise_cfg=\{'decay_rate': 0\.75\}"):
        groups_of(model, decay_rate=0.75)
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(InputError, match="the blocks of Linear are not known"):
        groups_of(model, layer_decay_rate=0.75)


def test_a_step_moves_each_block_by_its_learning_rate():
    """The first step of AdamW moves every weight by its learning rate."""
    model = Segmentor(vit()).double()
    constructor = LayerDecayOptimWrapperConstructor(
        dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=LR, weight_decay=0.0)),
        paramwise_cfg=dict(layer_decay_rate=0.5),
    )
    wrapper = constructor(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    wrapper.step()
    for block in range(12):
        name = f"backbone.layers.{block}.attn.proj.weight"
        step = (before[name] - dict(model.named_parameters())[name]).detach()
        assert step.mean().item() == pytest.approx(LR * 0.5 ** (12 - block), rel=1e-3)
