"""Maps of any backbone: equal to the library's own, the same for one network of two libraries."""

import pytest
import timm
import torch
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm import InputError
from bam_mm.checkpoint import load_backbone
from bam_mm.registry import MODELS
from tests.models.families import ARCH, BY_NAME, saved_elements

pytestmark = pytest.mark.slow

OF_TIMM = [
    "timm-vit", "timm-dinov2-registers", "timm-dinov3", "timm-registers-without-cls", "timm-cait",
    "timm-swin", "timm-convnext", "timm-efficientnet", "timm-mobilenet", "timm-resnet",
]  # fmt: skip
OF_MMPRETRAIN = {
    "mmpretrain-swin": dict(out_indices=(0, 1, 2, 3)),
    "mmpretrain-convnext": dict(out_indices=(0, 1, 2, 3), gap_before_final_norm=False),
    "mmpretrain-mvit": dict(out_scales=(0, 1, 2, 3)),
    "mmpretrain-efficientnet": dict(out_indices=(2, 3, 4, 5)),
    "mmpretrain-resnet": dict(out_indices=(0, 1, 2, 3)),
}


def build(**config):
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.eval()  # It returns None for backbones of mmpretrain.
    return model


def shuffled(module):
    """Give every parameter and statistic a value that no initialisation produces."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return module


def differences(found, wanted):
    return [
        float((a - b).abs().max() / b.abs().max()) if a.shape == b.shape else (a.shape, b.shape)
        for a, b in zip(found, wanted, strict=True)
    ]


@pytest.mark.parametrize("name", OF_TIMM)
def test_maps_of_timm_equal_its_own(name):
    family = BY_NAME[name]
    deep = dict(depth=4) if family.config.get("depth") else {}
    dense = shuffled(build(**{**family.config, **deep, "type": "bam_mm.DenseTIMM"}))
    images = torch.randn(2, 3, family.side, family.side)
    with torch.no_grad():
        wanted = dense.timm_model.forward_intermediates(
            images, indices=dense.stages, output_fmt="NCHW", intermediates_only=True
        )
        found = dense(images)
    assert max(differences(found, wanted)) < 1e-5
    assert dense.widths == [x.shape[1] for x in found]
    assert dense.strides == [family.side // x.shape[3] for x in found]
    assert {*dense.strides} == {*family.strides}


@pytest.mark.parametrize("name, settings", OF_MMPRETRAIN.items(), ids=OF_MMPRETRAIN)
def test_maps_of_mmpretrain_equal_its_own(name, settings):
    """With added norms, they are those of ``norm0`` to ``norm3`` of a detector in mmdet."""
    network = BY_NAME[name].config
    theirs = build(**network, **settings)
    norms = [f"norm{n}" for n in range(3) if f"norm{n}" in theirs._modules]
    ours = build(type="bam_mm.DenseBackbone", network=network, norm="added" if norms else "none")
    shuffled(ours)
    own = ours.network.state_dict()
    for number, norm in enumerate(norms):
        own.update({
            f"{norm}.{key}": value
            for key, value in ours.output_norms[number].state_dict().items()
        })  # fmt: skip
    theirs.load_state_dict(own)
    images = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        found, wanted = ours(images), theirs(images)
        if name == "mmpretrain-mvit":
            # It passes a normalised map on to its next block, with norms that its training lacked.
            plain = build(**network)
            plain.load_state_dict(ours.network.state_dict())
            found, wanted = [found[0], found[3]], [wanted[0], plain(images)[0]]
    assert max(differences(found, wanted)) < 1e-5
    assert ours.strides == [4, 8, 16, 32]
    assert ours.widths == list(BY_NAME[name].widths)


def test_one_resnet50_of_two_libraries_gives_the_same_maps(tmp_path):
    """timm counts the stem of a ResNet as a stage, so its stages 0 to 3 have strides of 2 to 16."""
    torch.manual_seed(0)
    torch.save(shuffled(timm.create_model("resnet50")).state_dict(), tmp_path / "r50.pth")
    ours = {
        "timm": build(type="bam_mm.DenseTIMM", model_name="resnet50"),
        "wrapped": build(
            type="bam_mm.DenseBackbone", network=dict(type="mmpretrain.ResNet", depth=50)
        ),
        "mmpretrain": build(type="mmpretrain.ResNet", depth=50, out_indices=(0, 1, 2, 3)),
    }
    images, maps = torch.randn(1, 3, 64, 96), {}
    for name, backbone in ours.items():
        assert load_backbone(backbone, tmp_path / "r50.pth").added == []
        with torch.no_grad():
            maps[name] = backbone(images)
    assert [tuple(x.shape[1:]) for x in maps["timm"]] == [
        (width, 64 // stride, 96 // stride)
        for width, stride in ((256, 4), (512, 8), (1024, 16), (2048, 32))
    ]
    assert max(differences(maps["timm"], maps["mmpretrain"])) < 1e-5
    assert max(differences(maps["wrapped"], maps["mmpretrain"])) == 0


def test_a_file_without_the_added_norms_loads_and_they_are_named(tmp_path):
    for name in ("timm-swin", "mmpretrain-swin"):
        plain = build(**BY_NAME[name].config)
        torch.save(plain.state_dict(), tmp_path / "plain.pth")
        if name == "timm-swin":
            dense = build(**{**BY_NAME[name].config, "type": "bam_mm.DenseTIMM"}, norm="added")
        else:
            network = BY_NAME[name].config
            dense = build(type="bam_mm.DenseBackbone", network=network, norm="added")
        report = load_backbone(dense, tmp_path / "plain.pth")
        assert report.loaded == len(plain.state_dict())
        names = [f"output_norms.{n}.{part}" for n in range(3) for part in ("weight", "bias")]
        assert report.added == (names if name == "timm-swin" else [])
        inner = dense.network if name == "mmpretrain-swin" else dense
        assert all(torch.equal(inner.state_dict()[k], v) for k, v in plain.state_dict().items())


@pytest.mark.parametrize(
    "config",
    [
        dict(
            type="bam_mm.DenseTIMM",
            model_name="vit_small_patch14_reg4_dinov2",
            img_size=70,
            embed_dim=24,
            depth=4,
            num_heads=3,
        ),
        dict(type="bam_mm.DenseViT", arch=ARCH, img_size=70, patch_size=14, blocks=[0, 1, 2, 3]),
    ],
    ids=["timm", "mmpretrain"],
)
def test_patches_of_14_pixels(config):
    """50x60 px are padded or enlarged to 56x70: 4x5 patches."""
    images = torch.randn(1, 3, 50, 60)
    changed = {
        "pad": torch.nn.functional.pad(images, (0, 10, 0, 6)),
        "resize": torch.nn.functional.interpolate(images, size=(56, 70), mode="bicubic"),
    }
    for fit, wanted in changed.items():
        model = build(**config, fit_input=fit)
        with torch.no_grad():
            found, expected = model(images), model(wanted)
        assert [tuple(x.shape[2:]) for x in found] == [(4, 5)] * 4
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    with pytest.raises(InputError, match=r"backbone\.fit_input='crop': choose one of pad, resize"):
        build(**config, fit_input="crop")


def test_overlapping_patches_have_the_stride_of_their_convolution():
    model = build(type="bam_mm.DenseTIMM", model_name="pvt_v2_b0")
    assert (model.patch_size, model.strides, model.only_size) == (4, [4, 8, 16, 32], None)


def test_modes_of_batch_norm_and_of_a_frozen_network():
    resnet = {**BY_NAME["timm-efficientnet"].config, "type": "bam_mm.DenseTIMM"}
    model = build(**resnet, norm_eval=True).train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert model.training and norms and not any(m.training for m in norms)
    # timm's norms hold the activation, which torch's own conversion would lose.
    synchronised = build(**resnet, sync_bn=True)
    kinds = [m for m in synchronised.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(kinds) == len(norms)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert max(differences(synchronised(images), model.eval()(images))) < 1e-6
    frozen = build(**resnet, frozen=True).train()
    assert not frozen.training and not any(p.requires_grad for p in frozen.parameters())


def test_drop_path_of_torchvision_has_the_rate_of_the_protocol():
    from torchvision.ops import StochasticDepth

    network = dict(type="bam_mm.TorchvisionBackbone", model_name="efficientnet_b0")
    for rate in (0.0, 0.4):
        model = build(type="bam_mm.DenseBackbone", network=network, drop_path_rate=rate)
        rates = [m.p for m in model.modules() if isinstance(m, StochasticDepth)]
        assert max(rates) == pytest.approx(rate) and rates == sorted(rates)
    network["model_name"] = "resnet18"
    with pytest.raises(InputError, match=r"drop_path_rate=0\.4: torchvision's ResNet"):
        build(type="bam_mm.DenseBackbone", network=network, drop_path_rate=0.4)


def test_activation_checkpointing_saves_memory_and_changes_no_gradient():
    """Blocks of timm's DINOv3 get rotary embeddings as keyword arguments."""
    config = {**BY_NAME["timm-dinov3"].config, "type": "bam_mm.DenseTIMM", "depth": 4}
    gradients, kept = [], {}
    for saving in (False, True):
        model = build(**config, activation_checkpointing=saving).train()
        torch.manual_seed(1)
        with saved_elements() as saved:
            maps = model(torch.randn(1, 3, 64, 64))
        kept[saving] = sum(saved)
        sum((x**2).mean() for x in maps).backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert kept[True] < kept[False] / 2
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
