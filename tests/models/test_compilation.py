"""Compiled blocks: same numbers and names, few graphs, and hooks on submodules still run.

The backend ``eager`` runs the captured graph with torch's own operators, so results are equal bit
for bit. The backend ``inductor`` needs a compiler and rounds differently.
"""

import copy

import pytest
import torch
import torch._dynamo as dynamo

from bam_mm import InputError
from bam_mm.models.saliency import attention_maps
from tests.models.test_activation_checkpointing import model_of, step
from tests.models.test_bam import build

pytestmark = pytest.mark.slow

EAGER = dict(backend="eager")


@pytest.fixture(autouse=True)
def empty_compile_cache():
    limit = dynamo.config.recompile_limit
    dynamo.reset()
    dynamo.utils.counters.clear()
    yield
    dynamo.reset()
    dynamo.config.recompile_limit = limit


@pytest.mark.parametrize(
    "name,change,checkpointing",
    [
        ("vit", dict(drop_path_rate=0.5), True),
        ("resnet", {}, False),
    ],
)
def test_loss_gradients_and_names_are_equal(name, change, checkpointing):
    plain = model_of(name, change=change)
    compiled = model_of(
        name, change=change, compile_blocks=EAGER, activation_checkpointing=checkpointing
    )
    assert list(compiled.state_dict()) == list(plain.state_dict())
    compiled.load_state_dict(plain.state_dict())
    (loss, gradients, after), (again, repeated, after_again) = step(plain), step(compiled)
    assert loss == again and torch.equal(after, after_again)
    assert set(gradients) == set(repeated)
    assert all(torch.equal(repeated[key], value) for key, value in gradients.items())
    for (key, value), other in zip(plain.named_buffers(), compiled.buffers(), strict=True):
        assert torch.equal(value, other), key
    # Each block is one graph without a break.
    assert not dynamo.utils.counters["graph_break"]
    assert dynamo.utils.counters["stats"]["unique_graphs"] > 0


def test_blocks_share_their_code():
    # Without stochastic depth, whose rate differs between blocks, all blocks of a ViT are alike.
    step(model_of("vit", change=dict(drop_path_rate=0.0), compile_blocks=EAGER))
    # Two resolutions with gradients, and one without.
    assert dynamo.utils.counters["stats"]["unique_graphs"] == 3


def test_hooks_on_submodules_of_a_block_run_in_evaluation_mode():
    plain, compiled = model_of("vit"), model_of("vit", compile_blocks=EAGER)
    compiled.load_state_dict(plain.state_dict())
    step(compiled)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        maps = [attention_maps(m.eval().backbone, images) for m in (plain, compiled)]
    assert torch.equal(*maps)


def test_a_copy_runs_its_own_blocks():
    model = model_of("vit", compile_blocks=EAGER)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.backbone.layers.parameters():
            parameter.zero_()
    assert step(other)[0] != step(model)[0]


def test_a_backbone_without_known_blocks_is_refused():
    neck = dict(type="bam_mm.BAMProjector", in_channels=84, hid_channels=8, out_channels=8)
    with pytest.raises(InputError, match=r"compile_blocks: the blocks of LeNet5 are not known"):
        build(backbone=dict(type="LeNet5"), neck=neck, compile_blocks=True)
