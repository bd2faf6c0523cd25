"""A file that a library saved loads into the model that it was saved from, in every family."""

import pytest
import timm
import torch
import torchvision
from mmpretrain.registry import MODELS

from bam_mm import InputError
from bam_mm.checkpoint import convert_checkpoint, load_backbone, read_checkpoint
from bam_mm.checkpoint.branches import find_branch
from bam_mm.checkpoint.matching import match
from bam_mm.checkpoint.names import COUNTER, INDEX
from bam_mm.checkpoint.pointwise import reshape_pointwise
from tests.checkpoint.layouts import prefixed

pytestmark = pytest.mark.slow

SMALLEST = """
beit_base_patch16_224 botnet26t_256 test_byobnet cait_s24_224 coat_lite_medium convit_base
convmixer_1024_20_ks9_p14 test_convnext2 cpubone_nano crossvit_15_240 csatv2 darknet17 cspnext_tiny
davit_tiny deepseek_vit_412m deit_base_patch16_224 densenet121 dla34 dpn48b edgenext_xx_small
efficientformer_l1 efficientformerv2_s0 test_efficientnet_gn efficientvim_m1 efficientvit_b0
efficientvit_m2 vit_pe_spatial_base_patch16_512 fasternet_t0 fastvit_t8 focalnet_tiny_srf
gcvit_xxtiny gemma4_vit_570m ghostnet_050 hardcorenas_a hgnet_tiny hiera_tiny_224 sam2_hiera_tiny
hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3 inception_v4
lcnetv2_small levit_128s lowformer_e1 test_mambaout test_coatnet poolformerv2_s12 mixer_s16_224
lcnet_035 mobilenetv5_base mobilevitv2_050 mvitv2_tiny naflexvit_base_patch16_siglip nasnetalarge
nest_tiny nextvit_small nf_resnet26 pit_s_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny
regnetx_002 repghostnet_050 repvit_m2 res2net50_48w_2s resnest14d resnet10t resnetv2_18 rexnet_100
selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
swin_s3_tiny_224 swinv2_tiny_window16_256 swinv2_cr_tiny_224 tiny_vit_11m_224
tnt_s_legacy_patch16_224 tresnet_m twins_svt_small vgg11 visformer_small test_vit
vit_tiny_r_s16_p8_224 test_vit_relpos samvit_base_patch16_224 vitamin_base_224 volo_d1_224
ese_vovnet19b_slim legacy_xception xception41p xcit_nano_12_p8_224
""".split()  # noqa: SIM905
"""A model with few tensors of each family in timm, which is a module of ``timm.models``."""

REPORTED = """
efficientnet_b0 mobilenetv3_small_100 mixer_s32_224 cait_xxs24_224 resnet50d seresnet50
deit_tiny_distilled_patch16_224 vit_small_patch14_reg4_dinov2 resnet50_mlp
vit_base_patch16_siglip_224
""".split()  # noqa: SIM905
"""Models beside them: with names of other families, more tokens, other stems and heads."""


def family_of(name):
    return timm.models.model_entrypoint(name).__module__.rpartition(".")[2]


def other_families():
    """Return a model of each family that a newer timm has.

    timm also lists the modules of models that other tests have registered.
    """
    known = {family_of(name) for name in SMALLEST if timm.is_model(name)}
    others = [m for m in timm.list_modules() if m not in known and hasattr(timm.models, m)]
    return [timm.list_models(module=m)[0] for m in others]


def on_meta(name):
    """Return the tensors of a model with and without its classifier, without computing any."""
    with torch.device("meta"):
        model = timm.create_model(name)
        full = model.state_dict()
        try:
            model.reset_classifier(0, "")  # As mmpretrain's TIMMBackbone does.
        except AssertionError:
            model.reset_classifier(0)
    return full, model.state_dict()


def proven(content, wanted, branch="teacher"):
    """Return the tensors of a file by their names in a backbone that they fit."""
    source = find_branch(content, branch, "file.pth", wanted)
    matched = match(source, wanted)
    found = matched.tensors()
    reshape_pointwise(wanted, found)
    matched.prove(found, wanted, "file.pth")
    return found, source


@pytest.mark.parametrize("name", [*SMALLEST, *REPORTED, *other_families()])
def test_every_family_of_timm_loads_its_own_files(name):
    full, bare = on_meta(name)
    needed = {key for key in bare if not key.endswith((COUNTER, INDEX))}
    assert needed <= full.keys()
    bam = prefixed("backbone.", bare) | prefixed("teacher.backbone.", bare)
    contents = {
        "with classifier": full,
        "without": bare,
        "state_dict": {"state_dict": full, "epoch": 1},
        "module": {"model": prefixed("module.", full)},
        "Lightning": {"state_dict": prefixed("model.", full)},
        "BAM": {"state_dict": bam | {"teacher.neck.fc.weight": torch.ones(1)}},
    }
    for prefix in ("", "timm_model."):
        wanted = prefixed(prefix, bare)
        for form, content in contents.items():
            found, source = proven(content, wanted)
            original = full if form not in ("without", "BAM") else bare
            for key in needed:
                own = found[prefix + key]
                assert own is original[key] or own.shape == bare[key].shape != original[key].shape
            table = source.names.keymap
            assert table is None or all(table.covers(key) for key in bare)


@pytest.mark.parametrize("name", ["test_efficientnet", "hiera_tiny_224", "resnet10t", "test_vit"])
def test_what_is_not_the_model_stops(name):
    full, bare = on_meta(name)
    wanted = prefixed("timm_model.", bare)
    first, *_, last = (key for key in bare if key.endswith("weight"))
    for key in (first, last):
        with pytest.raises(InputError, match="1 missing"):
            proven({k: v for k, v in full.items() if k != key}, wanted)
        longer = torch.empty(bare[key].shape[0] + 1, *bare[key].shape[1:], device="meta")
        with pytest.raises(InputError, match=r"1 of another shape"):
            proven(full | {key: longer}, wanted)
    more = {key.replace(".0.", ".77.", 1): value for key, value in bare.items() if ".0." in key}
    with pytest.raises(InputError, match=f"{len(more)} left over"):
        proven(full | more, wanted)
    with pytest.raises(InputError, match="holds no teacher"):
        proven(prefixed("student.", full), wanted)


@pytest.mark.parametrize("name", ["efficientnet_b0", "cait_xxs24_224", "hiera_tiny_224"])
def test_the_proof_names_no_other_family(name):
    full, bare = on_meta(name)
    source = find_branch(full, "teacher", "file.pth", bare)
    assert source.scheme == "the backbone's own names" and source.layout.name == "one model"


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc."),
        ("vit_b_16", "heads."),
        ("swin_t", "head."),
        ("convnext_tiny", "classifier."),
        ("efficientnet_b0", "classifier."),
    ],
)
def test_files_of_torchvision(name, head):
    with torch.device("meta"):
        full = torchvision.models.get_model(name).state_dict()
    bare = {key: value for key, value in full.items() if not key.startswith(head)}
    for content in (full, {"model": prefixed("module.", full)}):
        found, _ = proven(content, bare)
        assert all(found[key] is full[key] for key in bare)
    if name == "resnet18":
        others = (
            timm.create_model(name, num_classes=0).state_dict(),
            MODELS.build(dict(type="ResNet", depth=18)).state_dict(),
            MODELS.build(dict(type="TIMMBackbone", model_name=name)).state_dict(),
        )
        for wanted in others:
            found, _ = proven(full, wanted)
            assert len(found.keys() & wanted.keys()) == len(wanted) == len(bare)


@pytest.mark.parametrize(
    "config",
    [
        dict(type="SwinTransformer", arch="tiny"),
        dict(type="ConvNeXt", arch="atto"),
        dict(type="EfficientNet", arch="b0"),
        dict(type="MobileNetV3", arch="small"),
        dict(type="RegNet", arch="regnetx_400mf"),
        dict(type="T2T_ViT"),
        dict(type="MlpMixer", arch="base"),
    ],
    ids=lambda config: config["type"],
)
def test_files_of_mmpretrain(config):
    state = MODELS.build(config).state_dict()
    head = {"head.fc.weight": torch.ones(2, 2), "head.fc.bias": torch.ones(2)}
    found, _ = proven({"state_dict": prefixed("backbone.", state) | head, "meta": {}}, state)
    assert found.keys() == state.keys() and all(found[key] is state[key] for key in state)


NAMES = ["test_efficientnet", "test_resnet", "test_vit"]


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_loaded_and_converted(tmp_path, name):
    original = timm.create_model(name).eval()
    torch.save(original.state_dict(), tmp_path / "timm.pth")
    config = dict(type="TIMMBackbone", model_name=name)
    images = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        wanted = original.forward_features(images)
    for to in ("timm", "mmpretrain"):
        backbone = MODELS.build(config)
        report = convert_checkpoint(
            tmp_path / "timm.pth", tmp_path / f"to-{to}.pth", to=to, model=backbone
        )
        assert report.loaded.loaded == report.tensors
    for file in ("timm.pth", "to-timm.pth", "to-mmpretrain.pth"):
        backbone = MODELS.build(config)
        backbone.eval()  # Returns None.
        load_backbone(backbone, tmp_path / file)
        with torch.no_grad():
            torch.testing.assert_close(backbone.timm_model.forward_features(images), wanted)
    written = read_checkpoint(tmp_path / "to-timm.pth")
    assert all(torch.equal(value, original.state_dict()[key]) for key, value in written.items())
    broken = original.state_dict()
    key = next(key for key in broken if key.endswith("weight"))
    torch.save(broken | {key: broken[key] * torch.nan}, tmp_path / "nan.pth")
    with pytest.raises(InputError, match=r"is broken: .*NaN"):
        load_backbone(backbone, tmp_path / "nan.pth")
