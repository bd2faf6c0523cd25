"""Views, networks, loss and teacher stay on the GPU; the tests do not need one.

Fake tensors have a device but no numbers. They raise an error if an operation mixes devices or
reads a number, which would wait for a GPU. Autograd's backward pass is not covered, but the loss
computes its gradient in the forward pass.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bam_mm.hooks.collapse_monitor import feature_std
from bam_mm.losses import match_attention
from bam_mm.losses.chunked.products import Keys
from bam_mm.models import MultiViewPreprocessor
from bam_mm.optim import LARS
from tests.models.test_bam import LAYOUT, build, views


@pytest.fixture
def mode():
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        yield mode


@pytest.fixture(params=[None, torch.bfloat16], ids=["float32", "bfloat16"])
def autocast(request, monkeypatch):
    # torch.autocast refuses to run without a GPU; the functions that it calls do not.
    if request.param is not None:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *args: True)
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", request.param)
    yield request.param
    torch.set_autocast_enabled("cuda", False)
    torch.set_autocast_dtype("cuda", torch.float16)


def on_gpu(mode, module):
    return module._apply(lambda tensor: torch.empty_like(mode.from_tensor(tensor), device="cuda"))


@pytest.mark.parametrize(
    "change",
    [
        {},
        dict(teacher_views="all"),
        dict(use_teacher=False),
        dict(head=dict(type="bam_mm.BAMHead", top_k=2)),
        dict(head=dict(type="bam_mm.BAMHead", global_normalisation=False)),
        dict(teacher_views="all", head=dict(type="bam_mm.BAMHead", target_views="all")),
        # Temperatures so low that the balancing works in log space.
        dict(head=dict(type="bam_mm.BAMHead", temperature=0.02, target_temperature=0.01)),
    ],
    ids=["default", "all views", "no teacher", "top k", "by block", "all targets", "cold"],
)
def test_the_step(request, autocast, change):
    model = build(**change)
    mode = request.getfixturevalue("mode")
    on_gpu(mode, model)
    inputs = [torch.empty(view.shape, device="cuda") for view in views()]
    model.head.monitor = True  # computes the entropies too
    loss = model.loss(inputs)["loss"]
    model.update_teacher(0.9)
    spread = feature_std(model.last_projection)
    assert loss.requires_grad
    assert loss.device == spread.device == torch.device("cuda:0")
    assert loss.dtype == torch.float32
    assert {e.device.type for e in model.head.entropies.values()} == {"cuda"}


@pytest.mark.parametrize("place", ["device", "worker"])
def test_the_preprocessor(request, place):
    preprocessor = MultiViewPreprocessor(LAYOUT, photometric_place=place)
    mode = request.getfixturevalue("mode")
    on_gpu(mode, preprocessor)
    preprocessor._device = torch.device("cuda")  # set by `to`
    inputs = [torch.empty(view.shape, dtype=torch.uint8) for view in views()]
    out = preprocessor(dict(inputs=inputs, data_samples=None), training=True)["inputs"]
    assert {view.device.type for view in out} == {"cuda"}
    assert [view.shape for view in out] == [view.shape for view in inputs]


def test_lars(mode):
    parameters = [torch.nn.Parameter(torch.empty(s, device="cuda")) for s in ((4, 3), (4,))]
    optimizer = LARS(parameters, lr=0.1, momentum=0.9, weight_decay=1e-6)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        optimizer.step()
    buffers = [state["momentum_buffer"] for state in optimizer.state.values()]
    assert [b.device.type for b in buffers] == ["cuda", "cuda"]


def test_mixed_devices_are_detected(mode):
    student, teacher = torch.empty(8, 4, device="cuda"), torch.empty(8, 4)
    with pytest.raises(RuntimeError, match="device"):
        match_attention(student, teacher, num_views=2, num_global=2)


def test_mixed_devices_in_the_gradient_are_detected(mode, monkeypatch):
    pull = Keys.pull
    monkeypatch.setattr(Keys, "pull", lambda self, c: pull(self, c).cpu())
    student = torch.empty(8, 4, device="cuda", requires_grad=True)
    teacher = torch.empty(8, 4, device="cuda")
    with pytest.raises(RuntimeError, match="device"):
        match_attention(student, teacher, num_views=2, num_global=2)
