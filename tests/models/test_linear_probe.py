"""The frozen backbone of a linear probe, and its features computed by hand."""

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm.errors import InputError
from bam_mm.models import FrozenBackboneClassifier
from bam_mm.models.linear_probe import tensor_digests
from bam_mm.models.probe_features import probe_feature

VIT = dict(
    type="mmpretrain.MoCoV3ViT",
    arch=dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64),
    img_size=16,
    patch_size=8,
    drop_path_rate=0.5,
)
RESNET = dict(type="mmpretrain.ResNet_CIFAR", depth=18, stem_channels=4, base_channels=4)


def classifier(backbone, width, **kwargs):
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    head = dict(type="mmpretrain.LinearClsHead", num_classes=3, in_channels=width)
    model = FrozenBackboneClassifier(backbone=backbone, head=head, **kwargs)
    model.init_weights()
    return model


def reference_tokens(backbone, images, depth):
    """Compute the tokens after each of the last ``depth`` blocks and the final norm."""
    x = backbone.patch_embed.projection(images).flatten(2).transpose(1, 2)
    x = torch.cat([backbone.cls_token.expand(len(x), -1, -1), x], dim=1) + backbone.pos_embed
    outputs = []
    for layer in backbone.layers:
        x = x + layer.attn(layer.ln1(x))
        x = x + layer.ffn.layers(layer.ln2(x))
        outputs.append(
            nn.functional.layer_norm(x, (32,), backbone.ln1.weight, backbone.ln1.bias, 1e-6)
        )
    return outputs[-depth:]


@pytest.mark.parametrize(
    "feature, blocks, width",
    [("cls+mean", 1, 64), ("cls", 3, 96), ("mean", 1, 32), ("cls+mean", 2, 96)],
)
def test_feature_of_a_vit_by_hand(feature, blocks, width):
    model = classifier(VIT, width, feature=feature, blocks=blocks)
    images = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        tokens = reference_tokens(model.eval().backbone, images, blocks)
    parts = [] if feature == "mean" else [t[:, 0] for t in tokens]
    if feature != "cls":
        parts.append(
            (tokens[-1][:, 1] + tokens[-1][:, 2] + tokens[-1][:, 3] + tokens[-1][:, 4]) / 4
        )
    # Drop path of the frozen backbone is off in training mode too.
    [found] = model.train().extract_feat(images)
    torch.testing.assert_close(found, torch.cat(parts, dim=1), rtol=1e-5, atol=1e-5)
    assert found.shape == (5, width) and not found.requires_grad


def test_feature_of_a_map_is_its_mean():
    feature = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert probe_feature([feature], "mean").tolist() == [[5.5, 17.5]]
    with pytest.raises(
        InputError, match=r"returns \(1, 2, 3, 4\) and no \[CLS\] token; set model.feature=mean"
    ):
        probe_feature([feature], "cls")


def test_feature_of_a_timm_vit():
    backbone = dict(
        type="mmpretrain.TIMMBackbone", model_name="vit_tiny_patch16_224", img_size=32, depth=3
    )
    model = classifier(backbone, 384, feature="cls+mean")
    images = torch.randn(2, 3, 32, 32)
    tokens = model.backbone.timm_model.forward_features(images)
    wanted = torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
    torch.testing.assert_close(model.extract_feat(images)[0], wanted, rtol=1e-5, atol=1e-5)


def test_batch_norm_without_affine_parameters():
    neck = dict(type="mmpretrain.ClsBatchNormNeck", input_features=64, affine=False, eps=1e-6)
    model = classifier(VIT, 64, feature="cls+mean", neck=neck).train()
    images = torch.randn(7, 3, 16, 16)
    [raw] = model.extract_feat(images, stage="backbone")
    [normed] = model.extract_feat(images)
    wanted = (raw - raw.mean(dim=0)) / (raw.var(dim=0, unbiased=False) + 1e-6).sqrt()
    torch.testing.assert_close(normed, wanted, rtol=1e-4, atol=1e-4)
    assert not list(model.neck.parameters())


@pytest.mark.parametrize("backbone, width", [(VIT, 32), (RESNET, 32)], ids=["vit", "resnet"])
def test_training_changes_the_head_and_nothing_of_the_backbone(backbone, width):
    model = classifier(backbone, width, feature="mean")
    for buffer in model.backbone.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    before = tensor_digests(model.backbone)
    assert len(before) == len(model.backbone.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    weight = model.head.fc.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        logits = model.train()(torch.randn(8, 3, 16, 16))
        nn.functional.cross_entropy(logits, torch.arange(8) % 3).backward()
        optimizer.step()
    assert tensor_digests(model.backbone) == before
    assert not torch.equal(model.head.fc.weight, weight)
    assert model.training and not any(m.training for m in model.backbone.modules())
    assert all(p.grad is None for p in model.backbone.parameters())


def test_one_bit_changes_only_the_digest_of_its_tensor():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model.register_buffer("unsaved", torch.zeros(()), persistent=False)
    before = tensor_digests(model)
    model[1].running_mean[1] += 1e-7
    model.unsaved.fill_(-0.0)
    after = tensor_digests(model)
    assert {k for k in before if before[k] != after[k]} == {"1.running_mean", "unsaved"}


def test_wrong_width_and_wrong_options():
    model = classifier(VIT, 32, feature="cls+mean")
    with pytest.raises(
        InputError, match=r"is 64 wide, the head takes 32: .*model.head.in_channels=64$"
    ):
        model.extract_feat(torch.randn(1, 3, 16, 16))
    with pytest.raises(InputError, match=r"feature='pooled': choose one of cls, cls\+mean, mean"):
        classifier(VIT, 32, feature="pooled")
    with pytest.raises(InputError, match="blocks=0"):
        classifier(VIT, 32, blocks=0)
