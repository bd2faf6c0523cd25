"""Models of torchvision by name: their files, their own preprocessing, and what is refused."""

import pytest
import torch
import torchvision
from torchvision.ops import StochasticDepth

from bam_mm import InputError
from bam_mm.checkpoint import build_backbone, parse_backbone
from bam_mm.checkpoint.file_preprocessing import model_preprocessing
from bam_mm.models import TorchvisionBackbone
from bam_mm.models.drop_path import scale_drop_path
from tests.models.families import FAMILIES, small_torchvision

NAMES = [f.config["model_name"] for f in FAMILIES if f.name.startswith("torchvision")]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_torchvision_loads_into_its_model(name, tmp_path):
    torch.manual_seed(0)
    full = torchvision.models.get_model(name)
    torch.save(full.state_dict(), tmp_path / "c.pth")
    backbone, report = build_backbone(f"torchvision:{name}@{tmp_path / 'c.pth'}")
    own = full.state_dict()
    state = backbone.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in state.items())
    # Only the weight and the bias of the last linear layer are not used.
    assert len(own) - len(state) == len(report.unused) == 2
    del own[next(iter(own))]
    torch.save(own, tmp_path / "d.pth")
    with pytest.raises(InputError, match="1 missing"):
        build_backbone(f"torchvision:{name}@{tmp_path / 'd.pth'}")


def test_a_vit_for_larger_images(tmp_path):
    torch.manual_seed(0)
    sizes = dict(patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16)
    full = torchvision.models.VisionTransformer(96, **sizes)
    torch.nn.init.normal_(full.encoder.pos_embedding)
    torch.save(full.state_dict(), tmp_path / "c.pth")
    name = small_torchvision(
        "bam_mm_test_vit_64", lambda **k: torchvision.models.VisionTransformer(64, **sizes, **k)
    )
    backbone, report = build_backbone(f"torchvision:{name}@{tmp_path / 'c.pth'}")
    assert report.resized == ["encoder.pos_embedding: 6x6 -> 4x4"]
    table, own = backbone.state_dict()["encoder.pos_embedding"], full.encoder.pos_embedding
    assert torch.equal(table[:, 0], own[:, 0])
    grid = own[:, 1:].transpose(1, 2).reshape(1, 16, 6, 6)
    wanted = torch.nn.functional.interpolate(grid, size=(4, 4), mode="bicubic")
    assert torch.allclose(table[:, 1:], wanted.flatten(2).transpose(1, 2), atol=1e-6)


def test_a_published_vit_is_built_for_the_size_of_its_weights():
    """Resizing its positions down and up again would change its features."""
    swag = parse_backbone("torchvision:vit_b_16@weights/vit_b_16_swag-9ac1b537.pth")
    assert swag.config["image_size"] == 384
    for spec in ("vit_b_16@vit_b_16-c867db91.pth", "resnet50@resnet50-11ad3fa6.pth"):
        assert "image_size" not in parse_backbone(f"torchvision:{spec}").config


def test_the_name_of_a_file_decides_between_published_weights():
    config = dict(type="bam_mm.TorchvisionBackbone", model_name="resnet50")
    first = model_preprocessing(config, "weights/resnet50-0676ba61.pth")
    second = model_preprocessing(config, "weights/resnet50-11ad3fa6.pth")
    other = model_preprocessing(config, "weights/mine.pth")
    assert [p.geometry.short_side for p in (first, second, other)] == [256, 232, 232]
    assert first.source == "torchvision's transforms of ResNet50_Weights.IMAGENET1K_V1"
    assert first.geometry.interpolation == "bilinear" and first.geometry.size == 224
    assert other.is_imagenet and other.source.endswith("IMAGENET1K_V2")
    swag = model_preprocessing({**config, "model_name": "vit_b_16"}, "vit_b_16_swag-9ac1b537.pth")
    assert (swag.geometry.size, swag.geometry.interpolation) == (384, "bicubic")
    assert model_preprocessing({**config, "model_name": "bam_mm_test_vit"}) is None


def test_random_weights_need_no_file():
    source = parse_backbone("random:torchvision:resnet18")
    assert source.config == dict(type="bam_mm.TorchvisionBackbone", model_name="resnet18")
    assert source.path is None and source.preprocessing().geometry.size == 224
    backbone, report = build_backbone("random:torchvision:bam_mm_test_swin")
    assert report is None and isinstance(backbone, TorchvisionBackbone)


@pytest.mark.parametrize(
    "spec, words",
    [
        ("torchvision:resnet5@x.pth", "no model 'resnet5'; similar names: resnet50"),
        ("torchvision:resnet50", r"nothing is downloaded.*random:torchvision:resnet50\)"),
        ("random:torchvision:resnet5", "no model 'resnet5'"),
        ("torchvision:", "write one of"),
    ],
)
def test_wrong_names(spec, words):
    with pytest.raises(InputError, match=words):
        parse_backbone(spec)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(model_name="squeezenet1_0"), "SqueezeNet does not end in a linear classifier"),
        (dict(model_name="resnet18", depth=3), "unexpected keyword argument 'depth'"),
        (  # It would download the weights of its backbone.
            dict(model_name="fasterrcnn_resnet50_fpn"),
            r"this model of torchvision\.models\.detection is no classification model",
        ),
        (dict(model_name="nothing"), "model_name='nothing' of torchvision: Unknown model"),
    ],
)
def test_wrong_arguments(settings, words):
    with pytest.raises(InputError, match=words):
        TorchvisionBackbone(**settings)


def test_a_frozen_backbone_stays_frozen():
    backbone = TorchvisionBackbone("bam_mm_test_convnext", frozen=True)
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not backbone.net.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def rates_of(name, **settings):
    """Return the rates of the drop path of a model without memory for its weights."""
    with torch.device("meta"):
        model = TorchvisionBackbone(name, **settings)
    return [m.p for m in model.modules() if isinstance(m, StochasticDepth)]


@pytest.mark.parametrize("name", ["swin_t", "convnext_tiny", "swin_v2_t"])
def test_the_drop_path_has_the_rate_that_was_asked_for(name):
    # swin_t and swin_v2_t refuse the rate as an argument, and have 0.2 of their own.
    assert {*rates_of(name)} == {0.0}
    for setting in (dict(drop_path_rate=0.3), dict(drop_path_rate=0.05)):
        rates = rates_of(name, **setting)
        assert rates == sorted(rates) and rates[0] == 0.0
        assert rates[-1] == pytest.approx(setting["drop_path_rate"])
    model = TorchvisionBackbone("bam_mm_test_convnext")
    assert not scale_drop_path(model, 0.3)  # Built with a rate of 0, so that no ratio is known.


def test_a_drop_path_that_is_missing_is_logged(monkeypatch):
    logged = []
    monkeypatch.setattr(
        "bam_mm.models.torchvision_backbone.print_log", lambda text, **_: logged.append(text)
    )
    without = ["bam_mm_test_resnet", "bam_mm_test_vit"]
    assert not any(rates_of(name, drop_path_rate=0.3) for name in without)
    rates_of("swin_t", drop_path_rate=0.3)
    assert len(logged) == len(without)
    for text, name in zip(logged, without, strict=True):
        assert text.startswith(f"torchvision's {name} is built without stochastic depth")


@torch.no_grad()
def test_the_input_is_transformed_as_published_weights_want_it():
    # torchvision sets transform_input with weights only, and its published mean and std assume it.
    model = TorchvisionBackbone("googlenet", init_weights=False).eval()
    wanted = torchvision.models.googlenet(transform_input=True, init_weights=False).eval()
    wanted.fc = torch.nn.Identity()
    wanted.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(image)[0], wanted(image))
    wanted.transform_input = False
    assert not torch.equal(model(image)[0], wanted(image))
    with torch.device("meta"):
        assert TorchvisionBackbone("inception_v3", init_weights=False).net.transform_input
        options = dict(init_weights=False, transform_input=False)
        assert not TorchvisionBackbone("inception_v3", **options).net.transform_input
