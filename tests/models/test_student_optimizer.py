"""The optimizer holds the student's parameters, once each, and none of the teacher's."""

import torch
from mmengine.optim import build_optim_wrapper

from tests.models.test_bam import build


def test_groups_and_weight_decay(monkeypatch):
    said = []
    monkeypatch.setattr(
        "mmengine.optim.optimizer.default_constructor.print_log",
        lambda text, **kw: said.append(text),
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
    # mmengine adds a group of its own, one scalar that holds the base settings.
    groups = [g for g in wrapper.param_groups if g["params"][0].ndim > 0]
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    students = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert len(decay) == len(students) == sum(len(g["params"]) for g in groups)
    for name, parameter in students:
        assert not name.startswith("teacher")
        assert decay[id(parameter)] == (0.0 if parameter.ndim == 1 else 0.04), name
    assert not any("teacher" in text for text in said)
    assert isinstance(wrapper.optimizer, torch.optim.AdamW)
