"""No step of a pretraining on a GPU waits for the device, with the wrapper of each config."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, init_default_scope
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bam_mm import AmpOptimWrapper
from bam_mm.launch.config import load_config
from tests.models.test_bam import build, views

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[2] / "configs/pretrain"
WRAPPER = "mmengine.optim.optimizer.amp_optimizer_wrapper"
# The ablations differ from the config of the same length in other settings.
STEMS = sorted(p.stem for p in FOLDER.glob("*-amp-*.py") if "-150e_" not in p.stem)


class CopyFromGPU(Exception):
    """A copy from the GPU to the CPU."""


WAITS = (DataDependentOutputException, DynamicOutputShapeException, CopyFromGPU)


class NoCopies(TorchDispatchMode):
    """Raise for copies from the GPU to the CPU, for which the CPU waits.

    Reads of numbers (``item``, ``bool``, ``tolist``, ``nonzero``) raise in ``FakeTensorMode``,
    whose tensors have shapes and devices, but no values.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        places = [
            {leaf.device.type for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)}
            for tree in ((args, kwargs), out)
        ]
        if "cuda" in places[0] and places[1] == {"cpu"}:
            raise CopyFromGPU(function)
        return out


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is a GPU: tensors without values on it, and a ``GradScaler`` for it."""
    monkeypatch.setattr(f"{WRAPPER}.is_cuda_available", lambda: True)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    with FakeTensorMode(), NoCopies():
        yield "cuda"


def model_on(device):
    """Return a small BAM whose parameters have shapes, but no values."""
    with torch.utils._python_dispatch._disable_current_modes():
        model = build()
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fake = torch.empty(parameter.shape, device=device)
                module._parameters[name] = torch.nn.Parameter(fake, parameter.requires_grad)
    return model


class Loader(list):
    dataset = SimpleNamespace(metainfo={})


def train_two_steps(config, model, device, monkeypatch):
    """Run what an iteration does after the forward pass; return the wrapper."""
    init_default_scope("mmpretrain")
    wrapper = build_optim_wrapper(model, config.optim_wrapper)

    def backward(loss, **kwargs):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.ones_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    loader = Loader(range(50))
    hub = MessageHub.get_instance(f"device waits {id(wrapper)}")
    wrapper.message_hub = hub
    runner = SimpleNamespace(
        iter=10, max_iters=100, train_dataloader=loader, hooks=[], optim_wrapper=wrapper,
        message_hub=hub, model=model, logger=None, cfg=config, epoch=0, max_epochs=2,
    )  # fmt: skip
    info = config.default_hooks.get("runtime_info") or dict(type="mmengine.RuntimeInfoHook")
    updates = [h for h in config.custom_hooks if h.type == "bam_mm.TeacherUpdateHook"]
    hooks = [
        HOOKS.build(dict(hook)) for hook in (info, config.default_hooks.check_finite, *updates)
    ]
    for hook in hooks:
        if hasattr(hook, "pending"):
            hook.before_train(runner)
    for batch in range(2):
        loss = torch.ones((), device=device)
        wrapper.update_params(loss)
        for hook in hooks:
            hook.after_train_iter(runner, batch, outputs=dict(loss=loss))
        runner.iter += 1
    return wrapper


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("stem", STEMS)
def test_a_step_reads_nothing_from_the_device(stem, dtype, gpu, monkeypatch):
    config = load_config(FOLDER / f"{stem}.py", {"optim_wrapper.dtype": dtype})
    wrapper = train_two_steps(config, model_on(gpu), gpu, monkeypatch)
    assert type(wrapper) is AmpOptimWrapper
    assert wrapper.loss_scaler.is_enabled() == (dtype == "float16")
    state = wrapper.optimizer.state
    assert state and len(state) == sum(len(g["params"]) for g in wrapper.optimizer.param_groups)


RESNET = "bam_resnet50_16xb256-amp-coslr-300e_in1k"
VIT = "bam_vit-base-p16_16xb256-amp-coslr-300e_in1k"


@pytest.mark.parametrize(
    "stem, options",
    [
        (RESNET, {"optim_wrapper.optimizer.type": "LARS"}),
        (VIT, {"optim_wrapper.optimizer.fused": False, "optim_wrapper.dtype": "float16"}),
        (VIT, {"default_hooks.runtime_info.type": "mmengine.RuntimeInfoHook"}),
    ],
    ids=["mmpretrain's LARS", "AdamW that is not fused", "mmengine's hook"],
)
def test_what_waits_is_found(stem, options, gpu, monkeypatch):
    config = load_config(FOLDER / f"{stem}.py", options)
    with pytest.raises(WAITS):
        train_two_steps(config, model_on(gpu), gpu, monkeypatch)


@pytest.mark.parametrize("read", ["item", "tolist", "cpu", "nonzero", "__bool__"])
def test_each_way_to_read_a_tensor_is_found(read, gpu):
    with pytest.raises(WAITS):
        getattr(torch.ones(1, device=gpu), read)()


def test_any_optimizer_reads_nothing_in_bfloat16(gpu, monkeypatch):
    config = load_config(FOLDER / f"{VIT}.py")
    config.optim_wrapper.optimizer = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4)
    wrapper = train_two_steps(config, model_on(gpu), gpu, monkeypatch)
    assert not wrapper.loss_scaler.is_enabled()
    config.optim_wrapper.dtype = "float16"
    with pytest.raises(DataDependentOutputException):
        train_two_steps(config, model_on(gpu), gpu, monkeypatch)


class NoReads(TorchDispatchMode):
    """Raise where a number is read from a tensor, on any device."""

    READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in self.READS:
            raise RuntimeError(f"{function} reads from the device")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_and_gradients_read_nothing(dtype):
    model, inputs = build(), views()
    with NoReads():
        with torch.autocast("cpu", dtype=dtype):
            loss = model.loss(inputs)["loss"]
        loss.backward()
    assert model.neck.layers[0].weight.grad.any()
