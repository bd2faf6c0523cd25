"""BAM, SwAV, MAE and BEiT: the first training step equals slow references in float64.

Loss, norm of the gradient, and all weights after the step. The other methods' first steps are next
to their losses.
"""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm import BAM, SwAV
from bam_mm.registry import MODELS
from tests.methods.tiny import (
    close,
    convolved,
    images,
    layout_of,
    moved_teacher,
    network_model,
    perceptron,
    step_by_hand,
    step_of,
    trained_leaves,
)
from tests.reference.masked import slow_beit_loss, slow_mae_loss
from tests.reference.slow_bam_loss import slow_bam_loss
from tests.reference.swav import slow_swav_loss

BATCH, PATCH, WIDTH, HEADS, WORDS = 3, 2, 8, 2, 7
ARCH = dict(embed_dims=WIDTH, num_layers=2, num_heads=HEADS, feedforward_channels=12)
PREPROCESSOR = dict(type="SelfSupDataPreprocessor")


def project(state, views, prefix=""):
    """Return the (V * B, D) projections of a network_model."""
    features = [convolved(state, f"{prefix}backbone.", x) for x in views]
    return torch.cat([perceptron(state, f"{prefix}neck.", x) for x in features])


def assert_state(model, after):
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            close(value, after[name])


@pytest.mark.parametrize("num_local", [0, 1])
def test_bam(num_local):
    layout = layout_of(2, num_local)
    settings = dict(temperature=0.1, target_temperature=0.05, sinkhorn_iters=2)
    model = network_model(BAM, layout, **settings)
    views = images(layout, 4, channels=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = trained_leaves(model)
    rows, targets = project(state, views), project(state, views[:2], "teacher.").tolist()

    def slow(student):
        number = dict(num_views=len(views), num_global=2)
        return slow_bam_loss(student.tolist(), targets, **number, **settings)

    # The reference has no gradient: central differences over each number of the projections.
    step, student = 1e-5, rows.detach()
    gradient = torch.zeros_like(student)
    for place in range(student.numel()):
        offset = torch.zeros_like(student)
        offset.view(-1)[place] = step
        gradient.view(-1)[place] = (slow(student + offset) - slow(student - offset)) / (2 * step)
    after, norm = step_by_hand(state, (rows * gradient).sum(), 0.3)
    assert step_of(model, views, 0.3) == pytest.approx((slow(student), norm), abs=1e-8)
    assert norm > 0.03
    model.update_teacher(0.9)
    assert_state(model, after | moved_teacher(before, after, 0.9))


@pytest.mark.parametrize("num_local", [0, 2])
def test_swav(num_local):
    layout = layout_of(2, num_local)
    model = network_model(SwAV, layout, temperature=0.3, epsilon=0.2)
    prototypes = model.head.prototypes.weight.data
    prototypes.div_(prototypes.norm(dim=1, keepdim=True))  # As the loss does before it uses them.
    views = images(layout, 4, channels=3)
    state = trained_leaves(model)
    rows = project(state, views)
    units = (rows / rows.norm(dim=1, keepdim=True)).chunk(len(views))
    wanted = slow_swav_loss(
        units,
        state["head.prototypes.weight"],
        targets=(0, 1),
        temperature=0.3,
        epsilon=0.2,
        iterations=3,
    )
    after, norm = step_by_hand(state, wanted, 0.3)
    assert step_of(model, views, 0.3) == pytest.approx((wanted.item(), norm), abs=1e-8)
    assert norm > 0.05
    assert_state(model, after)


def masked_model(kind, backbone, **parts):
    """Build an algorithm of mmpretrain in float64, with weights of which none is near 0."""
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    network = dict(type=backbone, arch=ARCH, img_size=2 * PATCH, patch_size=PATCH)
    if kind == "BEiT":
        network["layer_scale_init_value"] = 0.5
    model = MODELS.build(dict(type=kind, backbone=network, data_preprocessor=PREPROCESSOR, **parts))
    model.init_weights()
    model.double().train()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.4 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def test_mae():
    neck = dict(
        type="MAEPretrainDecoder",
        num_patches=4,
        patch_size=PATCH,
        embed_dim=WIDTH,
        decoder_embed_dim=WIDTH,
        decoder_depth=1,
        decoder_num_heads=HEADS,
    )
    loss = dict(type="PixelReconstructionLoss", criterion="L2")
    head = dict(type="MAEPretrainHead", norm_pix=True, patch_size=PATCH, loss=loss)
    model = masked_model("MAE", "MAEViT", neck=neck, head=head)
    [x] = images(layout_of(1, global_size=2 * PATCH), BATCH, channels=3)
    # The 75 % of the patches with the largest of these numbers are hidden.
    torch.manual_seed(5)
    visible = torch.rand(BATCH, 4).argsort(dim=1)[:, :1].tolist()
    assert len({seen for [seen] in visible}) > 1
    state = trained_leaves(model)
    wanted = slow_mae_loss(state, x, visible, patch=PATCH, heads=HEADS)
    after, norm = step_by_hand(state, wanted, 0.1)
    torch.manual_seed(5)
    assert step_of(model, x, 0.1) == pytest.approx((wanted.item(), norm), abs=1e-8)
    assert norm > 0.05
    assert_state(model, after)


def test_beit():
    head = dict(
        type="BEiTV1Head", embed_dims=WIDTH, num_embed=WORDS, loss=dict(type="CrossEntropyLoss")
    )
    words = dict(type="bam_mm.VisualWords", num_words=WORDS, patch_size=1)
    model = masked_model("BEiT", "BEiTPretrainViT", neck=None, head=head, target_generator=words)
    model.target_generator.set_words(torch.randn(WORDS, 3, dtype=torch.float64))
    [x] = images(layout_of(1, global_size=2 * PATCH), BATCH, channels=3)
    [second] = images(layout_of(1, global_size=2), BATCH, channels=3, seed=1)
    masks = torch.tensor([[[1, 0], [0, 1]], [[0, 1], [1, 1]], [[1, 0], [0, 0]]])
    state = trained_leaves(model)
    wanted = slow_beit_loss(state, x, second, masks, patch=PATCH, word_side=1, heads=HEADS)
    after, norm = step_by_hand(state, wanted, 0.1)
    samples = [SimpleNamespace(mask=mask) for mask in masks]
    found = step_of(model, [x, second], 0.1, samples)
    assert found == pytest.approx((wanted.item(), norm), abs=1e-8) and norm > 0.05
    assert_state(model, after)
