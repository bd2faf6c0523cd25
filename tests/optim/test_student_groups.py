"""The optimizer has each parameter of the student once, and none of the teacher."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from bam_mm import InputError
from bam_mm.optim.student_groups import merge_groups
from tests.models.test_bam import build


def test_groups_and_weight_decay(monkeypatch):
    logged = []
    monkeypatch.setattr(
        "mmengine.optim.optimizer.default_constructor.print_log",
        lambda text, **kw: logged.append(text),
    )
    model = build()
    wrapper = build_optim_wrapper(
        model,
        dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.04),
            paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
            constructor="bam_mm.StudentOptimWrapperConstructor",
        ),
    )
    # mmengine adds a group with one scalar for the base settings.
    groups = [g for g in wrapper.param_groups if g["params"][0].ndim > 0]
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    students = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert len(decay) == len(students) == sum(len(g["params"]) for g in groups)
    for name, parameter in students:
        assert not name.startswith("teacher")
        assert decay[id(parameter)] == (0.0 if parameter.ndim == 1 else 0.04), name
    assert not any("teacher" in text for text in logged)
    assert isinstance(wrapper.optimizer, torch.optim.AdamW)


def test_parameters_with_the_same_settings_share_a_group():
    model = build()
    wrapper = build_optim_wrapper(
        model,
        dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.04, fused=True),
            paramwise_cfg=dict(
                norm_decay_mult=0.0,
                bias_decay_mult=0.0,
                custom_keys={"neck.layers.0": dict(lr_mult=0.5, mark="neck")},
            ),
            constructor="bam_mm.StudentOptimWrapperConstructor",
        ),
    )
    groups = wrapper.optimizer.param_groups
    settings = [(g["lr"], g["weight_decay"], g.get("mark")) for g in groups]
    assert len(set(settings)) == len(settings)
    names = {id(p): name for name, p in model.named_parameters()}
    order = list(names)
    for group in groups:
        places = [order.index(id(p)) for p in group["params"]]
        assert places == sorted(places)
    found = {names[id(p)]: s for g, s in zip(groups, settings, strict=True) for p in g["params"]}
    assert {name for name, s in found.items() if s[2]} == {
        "neck.layers.0.weight",
        "neck.layers.0.bias",
    }
    for name, parameter in model.named_parameters():
        if name.startswith("teacher") or not parameter.requires_grad:
            assert name not in found
        elif name.startswith("neck.layers.0"):
            assert found[name] == (5e-4, 0.04, "neck")
        else:
            assert found[name] == (1e-3, 0.0 if parameter.ndim == 1 else 0.04, None)


def test_merging_groups():
    a, b, c, d = "abcd"  # any objects can stand for tensors
    groups = [
        dict(params=[a], lr=1.0),
        dict(params=[b], lr=1.0, weight_decay=0.0),
        dict(params=[c], lr=1.0),
        dict(params=[d]),
    ]
    assert merge_groups(groups) == [
        dict(params=[a, c], lr=1.0),
        dict(params=[b], lr=1.0, weight_decay=0.0),
        dict(params=[d]),
    ]
    assert [len(group["params"]) for group in groups] == [1, 1, 1, 1]
    assert merge_groups([]) == []


def test_settings_equal_to_the_defaults_make_no_group():
    wrapper = build_optim_wrapper(
        build(),
        dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.04),
            paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=1.0),
            constructor="bam_mm.StudentOptimWrapperConstructor",
        ),
    )
    groups = wrapper.optimizer.param_groups
    assert sorted((g["lr"], g["weight_decay"]) for g in groups) == [(1e-3, 0.0), (1e-3, 0.04)]


def test_a_parameter_of_two_modules_is_not_updated_twice():
    model = build()
    model.neck.layers[2].weight = model.neck.layers[0].weight
    settings = dict(norm_decay_mult=0.0)
    wrapper = dict(
        type="OptimWrapper",
        optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.04),
        paramwise_cfg=settings,
        constructor="bam_mm.StudentOptimWrapperConstructor",
    )
    with pytest.raises(InputError, match=r"1 of the parameters twice: .*bypass_duplicate=True"):
        build_optim_wrapper(model, wrapper)
    settings["bypass_duplicate"] = True
    groups = build_optim_wrapper(model, wrapper).optimizer.param_groups
    every = [id(p) for group in groups for p in group["params"]]
    assert len(set(every)) == len(every)


def trained(steps, fused, state=None, start=0):
    """Return weights and optimizer state after some steps; gradients only depend on the step."""
    model = build()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.04, fused=fused)
    if state is not None:
        model.load_state_dict(state[0])
        optimizer.load_state_dict(state[1])
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return model.state_dict(), optimizer.state_dict()


def test_the_fused_optimizer_takes_the_same_steps():
    (plain, _), (fused, _) = trained(5, fused=False), trained(5, fused=True)
    for name, value in plain.items():
        torch.testing.assert_close(fused[name], value, atol=1e-6, rtol=1e-5, msg=name)


def test_the_fused_optimizer_resumes_bit_for_bit_from_a_checkpoint(tmp_path):
    whole, optimizer = trained(6, fused=True)
    torch.save(trained(3, fused=True), tmp_path / "half.pth")
    half = torch.load(tmp_path / "half.pth", weights_only=True)
    resumed, optimizer_resumed = trained(6, fused=True, state=half, start=3)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    for key, state in optimizer["state"].items():
        assert all(torch.equal(optimizer_resumed["state"][key][n], v) for n, v in state.items())
