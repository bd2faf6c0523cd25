"""Networks of a few numbers in float64 for the tests of the methods, and their inputs."""

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from bam_mm import BYOL, DINO, NNCLR, MoCoV3, SwAV

CHANNELS = 4
PREDICTORS = (BYOL, MoCoV3, NNCLR)
WIDTH = 6
LAST = 12
"""Width of the last layer of DINO's projector."""


@MODELS.register_module(force=True)
class PixelMeans(BaseModule):
    """Backbone without parameters: the mean of each channel."""

    def forward(self, x):
        return (x.mean(dim=(2, 3)),)


@MODELS.register_module(force=True)
class RecordedLinear(BaseModule):
    """Linear map that keeps the outputs of its forward passes with a gradient."""

    def __init__(self, in_channels, out_channels, init_cfg=None):
        super().__init__(init_cfg)
        self.out_channels = out_channels
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels))
        self.outputs = []

    def forward(self, x):
        rows = (x[-1] if isinstance(x, (tuple, list)) else x) @ self.weight.T
        if rows.requires_grad:
            rows.retain_grad()
            self.outputs.append(rows)
        return rows


@MODELS.register_module(force=True)
class TinyConvolution(BaseModule):
    """Backbone of a single convolution, whose output is a map."""

    def __init__(self, channels=5, init_cfg=None):
        super().__init__(init_cfg)
        self.convolution = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x):
        return (self.convolution(x).tanh(),)


def layout_of(num_global=2, num_local=0, global_size=3, local_size=2):
    return dict(
        num_global=num_global, num_local=num_local, global_size=global_size, local_size=local_size
    )


def method(kind, layout, backbone, neck, head, **more):
    """Build an algorithm in float64, in training mode, with the same weights every time."""
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    preprocessor = dict(
        type="bam_mm.MultiViewPreprocessor", layout=layout, photometric_place="worker"
    )
    if kind is not BYOL:  # Its loss has no settings.
        more["head"] = head
    model = kind(
        backbone=backbone, neck=neck, layout=layout, data_preprocessor=preprocessor, **more
    )
    model.init_weights()
    return model.double().train()


def rows_model(kind, layout, *, width=WIDTH, **head):
    """Build an algorithm whose projections are a linear map of the mean of each channel."""
    linear = dict(type="RecordedLinear", in_channels=CHANNELS, out_channels=width)
    more = {}
    if kind in PREDICTORS:
        more["predictor"] = dict(type="RecordedLinear", in_channels=width, out_channels=width)
    if kind is NNCLR:
        head = dict(channels=width, queue_size=16) | head
    if kind is SwAV:
        head = dict(channels=width, num_prototypes=7) | head
    if kind is DINO:
        head = dict(out_channels=width) | head
    head = dict(type=f"bam_mm.{kind.__name__}Head", **head)
    model = method(kind, layout, dict(type="PixelMeans"), linear, head, **more)
    change_teacher(model)
    return model


def network_model(kind, layout, *, norm=False, norm_last_layer=True, num_layers=3, **head):
    """Build an algorithm with a convolution and its real projector."""
    mlp = dict(
        type="bam_mm.BAMProjector", in_channels=5, hid_channels=7, out_channels=WIDTH, norm=norm
    )
    more = {}
    if kind in PREDICTORS:
        more["predictor"] = mlp | dict(in_channels=WIDTH, num_layers=2)
    if kind is NNCLR:
        head = dict(channels=WIDTH, queue_size=16) | head
    if kind is SwAV:
        head = dict(channels=WIDTH, num_prototypes=7) | head
    if kind is DINO:
        head = dict(out_channels=LAST) | head
        mlp = dict(
            type="bam_mm.DINOProjector",
            in_channels=5,
            hid_channels=7,
            bottleneck_channels=WIDTH,
            out_channels=LAST,
            num_layers=num_layers,
            norm=norm,
            norm_last_layer=norm_last_layer,
        )
    head = dict(type=f"bam_mm.{kind.__name__}Head", **head)
    model = method(kind, layout, dict(type="TinyConvolution"), mlp, head, **more)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():  # Larger weights than a projector's usual ones: no gradient is near 0.
        for p in model.parameters():
            if p.requires_grad and p.ndim > 1:
                p.add_(0.7 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    change_teacher(model)
    return model


@torch.no_grad()
def change_teacher(model):
    """Make the teacher differ from the student."""
    generator = torch.Generator().manual_seed(7)
    if (teacher := getattr(model, "teacher", None)) is not None:
        for p in teacher.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator, dtype=p.dtype))


def images(layout, batch, *, seed=0, channels=CHANNELS):
    """Return one (B, channels, S, S) tensor for each view: each image has a colour, plus noise."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randn(batch, channels, 1, 1, generator=generator, dtype=torch.float64)
    sizes = [layout["global_size"]] * layout["num_global"]
    sizes += [layout["local_size"]] * layout["num_local"]
    shapes = [(batch, channels, s, s) for s in sizes]
    return [
        colours + torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes
    ]


def means(views):
    """Return the (B, C) mean of each channel for each view."""
    return [view.mean(dim=(2, 3)) for view in views]


def recorded(module):
    """Return the rows of the forward passes of a RecordedLinear and their gradient, and forget."""
    rows = torch.cat(module.outputs)
    gradient = torch.cat(
        [torch.zeros_like(x) if x.grad is None else x.grad for x in module.outputs]
    )
    module.outputs = []
    return rows.detach(), gradient


def leaves(rows, views):
    """Return one leaf (B, D) of view-major rows for each view."""
    return [x.clone().requires_grad_() for x in rows.chunk(views)]


def gradients(leaves):
    """Return the gradients of leaves in one tensor; a leaf that nothing depends on has zeros."""
    return torch.cat([torch.zeros_like(x) if x.grad is None else x.grad for x in leaves])


def queue_of(model):
    """Return the (Q, D) rows of NNCLR's queue, which can be changed in place."""
    return model.head.queue.bank


def centre_of(model):
    """Return the (K,) centre of DINO's head, which can be changed in place."""
    [centre] = [v for k, v in model.head.state_dict().items() if "cent" in k]
    return centre.view(-1)


def convolved(state, prefix, x):
    """Compute the pooled features of TinyConvolution from a state dict."""
    weight, bias = (state[f"{prefix}convolution.{name}"] for name in ("weight", "bias"))
    return nn.functional.conv2d(x, weight, bias, padding=1).tanh().mean(dim=(2, 3))


def perceptron(state, prefix, x):
    """Compute the output of a BAMProjector without BatchNorm from a state dict."""
    linear = [k for k in state if k.startswith(prefix) and k.endswith(".weight")]
    for k in linear:
        x = x @ state[k].T + state[k.replace(".weight", ".bias")]
        if k != linear[-1]:
            x = nn.functional.gelu(x)
    return x


def dino_projection(state, prefix, x):
    """Compute the output of a DINOProjector in training mode from a state dict."""
    keys = [k for k in state if k.startswith(prefix)]
    [length] = [state[k] for k in keys if k.endswith(("weight_g", "original0"))]
    [direction] = [state[k] for k in keys if k.endswith(("weight_v", "original1"))]
    weights = [k for k in keys if k.endswith(".weight")]
    norms = iter([k for k in weights if state[k].ndim == 1])
    linear = [k for k in weights if state[k].ndim == 2]
    for k in linear:
        x = nn.functional.linear(x, state[k], state.get(k.replace(".weight", ".bias")))
        if k != linear[-1]:
            if norm := next(norms, None):
                x = (x - x.mean(dim=0)) / (x.var(dim=0, unbiased=False) + 1e-5).sqrt()
                x = x * state[norm] + state[norm.replace(".weight", ".bias")]
            x = nn.functional.gelu(x)
    x = x / x.square().sum(dim=1, keepdim=True).sqrt()
    return x @ (length * direction / direction.square().sum(dim=1, keepdim=True).sqrt()).T


def trained_leaves(model):
    """Return a copy of the state whose trained parameters are leaves with a gradient."""
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    return {
        name: value.detach().clone().requires_grad_(name in trained)
        for name, value in model.state_dict().items()
        if isinstance(value, torch.Tensor)
    }


def step_by_hand(state, loss, rate):
    """Return the state after a step of gradient descent, and the gradient's norm."""
    named = {name: value for name, value in state.items() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(named.values()))
    after = {name: value.detach().clone() for name, value in state.items()}
    for name, gradient in zip(named, gradients, strict=True):
        after[name] -= rate * gradient
    return after, sum(float(g.square().sum()) for g in gradients) ** 0.5


def step_of(model, views, rate, data_samples=None):
    """Train one step with SGD. Return the loss and the norm of the gradient."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=rate)
    loss = model.loss(views, data_samples)["loss"]
    loss.backward()
    assert all(p.grad is not None for p in trained)
    norm = sum(float(p.grad.square().sum()) for p in trained) ** 0.5
    optimizer.step()
    return loss.item(), norm


def moved_teacher(before, after, momentum):
    """Return the teacher's entries after an update, from the states around the step."""
    names = [name for name in before if name.startswith("teacher.")]
    students = {name: after[name.removeprefix("teacher.")] for name in names}
    return {n: momentum * before[n].detach() + (1 - momentum) * students[n] for n in names}


def close(a, b, tolerance=1e-8):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
