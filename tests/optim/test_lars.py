"""LARS has mmpretrain's numbers and state, but reads nothing from the device."""

import copy

import pytest
import torch
from mmpretrain.engine.optimizers import LARS as OneByOneLARS
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bam_mm import LARS

SHAPES = [(6, 3, 3, 3), (6,), (4, 6), (4,), (2, 4)]
SETTINGS = dict(lr=0.3, momentum=0.9, weight_decay=1e-3)


def parameters():
    generator = torch.Generator().manual_seed(0)
    made = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    with torch.no_grad():
        made[2].zero_()  # its norm is 0, so its ratio would be 0 / x
    return made


def groups(made):
    plain = dict(weight_decay=0.0, lars_exclude=True)
    return [dict(params=made[::2]), dict(params=made[1::2], **plain)]


def set_gradients(made, step):
    generator = torch.Generator().manual_seed(100 + step)
    for index, parameter in enumerate(made):
        gradient = torch.randn(parameter.shape, generator=generator)
        # The last one gets gradients from step 2, the first a gradient of 0 in step 3.
        parameter.grad = None if index == 4 and step < 2 else gradient * (index > 0 or step != 3)


@pytest.mark.parametrize(
    "change",
    [{}, dict(momentum=0.0), dict(nesterov=True), dict(dampening=0.2), dict(eta=0.02)],
    ids=str,
)
def test_steps_equal_mmpretrains(change):
    ours, theirs = parameters(), parameters()
    pairs = [(ours, LARS(groups(ours), **{**SETTINGS, **change}))]
    pairs.append((theirs, OneByOneLARS(groups(theirs), **{**SETTINGS, **change})))
    before = [p.detach().clone() for p in ours]
    for step in range(6):
        for made, optimizer in pairs:
            set_gradients(made, step)
            optimizer.step()
    for mine, wanted, start in zip(ours, theirs, before, strict=True):
        assert not torch.equal(wanted, start)
        torch.testing.assert_close(mine, wanted, atol=1e-7, rtol=1e-6)


def test_resuming_from_mmpretrains_state():
    made = parameters()
    optimizer = OneByOneLARS(groups(made), **SETTINGS)
    for step in range(3):
        set_gradients(made, step)
        optimizer.step()
    again = copy.deepcopy(made)
    resumed = LARS(groups(again), **SETTINGS)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(3, 6):
        for tensors, stepping in ((made, optimizer), (again, resumed)):
            set_gradients(tensors, step)
            stepping.step()
    for mine, wanted in zip(again, made, strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-7, rtol=1e-6)
    assert resumed.state_dict().keys() == optimizer.state_dict().keys()
    assert resumed.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()


def test_nothing_is_read_from_the_device():
    def step(kind):
        with FakeTensorMode() as mode:
            made = [torch.nn.Parameter(mode.from_tensor(p.detach())) for p in parameters()]
            optimizer = kind(groups(made), **SETTINGS)
            for _ in range(2):
                for parameter in made:
                    parameter.grad = torch.ones_like(parameter)
                optimizer.step()

    step(LARS)
    with pytest.raises(DataDependentOutputException):
        step(OneByOneLARS)


def test_later_steps_allocate_no_tensor_as_large_as_a_parameter():
    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            known = {storage(tensor) for tensor in tensors((args, kwargs))}
            new.extend(t.numel() for t in tensors(out) if storage(t) not in known)
            return out

    def tensors(tree):
        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]

    def storage(tensor):
        return tensor.untyped_storage()._cdata

    made = parameters()
    optimizer, new = LARS(groups(made), **SETTINGS), []
    for step in (3, 4):  # all parameters have gradients
        new.clear()
        set_gradients(made, step)
        with Sizes():
            optimizer.step()
    assert new and max(new) < min(p.numel() for p in made)


@pytest.mark.parametrize("bad", [0, 1])
def test_nan_spreads_as_in_mmpretrains(bad):
    ours, theirs = parameters(), parameters()
    for made, kind in ((ours, LARS), (theirs, OneByOneLARS)):
        set_gradients(made, 2)
        made[bad].grad.view(-1)[0] = torch.nan
        kind(groups(made), **SETTINGS).step()
    assert theirs[bad].isnan().any()
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, equal_nan=True)


def test_a_closure_is_evaluated_with_gradients():
    made = parameters()
    optimizer = LARS(made, **SETTINGS)

    def closure():
        optimizer.zero_grad()
        loss = sum(p.square().sum() for p in made)
        loss.backward()
        return loss

    first, second = optimizer.step(closure), optimizer.step(closure)
    assert second < first


class WaitingLARS(LARS):
    """LARS whose steps ``GradScaler`` skips itself, after reading the check from the device."""

    _step_supports_amp_scaling = False


def bits(optimizer, made):
    """Return the bits of all parameters and momentum; no momentum yet is the same as 0."""
    buffers = [
        optimizer.state[p].get("momentum_buffer", torch.zeros_like(p))
        for p in made
        if optimizer.defaults["momentum"]
    ]
    return [tensor.detach().view(torch.int32).clone() for tensor in [*made, *buffers]]


def scaled_steps(kind, change, unscale, infinite):
    """Take six steps with a dynamic scale; return the bits after each of them, and the scales."""
    made = parameters()
    made[0].data[0, 0, 0] = -0.0  # A sign that adding 0 would lose.
    optimizer = kind(groups(made), **{**SETTINGS, **change})
    scaler, history = torch.amp.GradScaler("cpu", growth_interval=2), []
    for step in range(6):
        scale = scaler.scale(torch.ones(()))
        set_gradients(made, step)
        for parameter in made:
            if parameter.grad is not None:
                parameter.grad *= scale
        if step in infinite:
            made[1].grad[2] = torch.inf if step % 2 else torch.nan
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        history.append(bits(optimizer, made))
    return history, scaler.get_scale()


@pytest.mark.parametrize("unscale", [False, True], ids=["", "unscaled before"])
@pytest.mark.parametrize(
    "change",
    [{}, dict(momentum=0.0), dict(nesterov=True), dict(dampening=0.2)],
    ids=str,
)
def test_infinite_gradients_change_no_bit(change, unscale):
    infinite = (0, 3, 4)
    ours, scale = scaled_steps(LARS, change, unscale, infinite)
    theirs, wanted = scaled_steps(WaitingLARS, change, unscale, infinite)
    assert scale == wanted == 65536.0 / 8 * 2  # halved three times, doubled after two good steps
    for step in range(6):
        assert all(torch.equal(*pair) for pair in zip(ours[step], theirs[step], strict=True))
        if step:
            same = all(torch.equal(*pair) for pair in zip(ours[step], ours[step - 1], strict=True))
            assert same == (step in infinite)


def test_a_scaled_step_reads_nothing_from_the_device():
    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    counts = []
    for kind, change in ((LARS, {}), (LARS, dict(dampening=0.2)), (WaitingLARS, {})):
        with Reads() as reads:
            scaled_steps(kind, change, False, ())
        counts.append(reads.count - 1)  # get_scale
    assert counts == [0, 6, 6]
