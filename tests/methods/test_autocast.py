"""Under autocast, the heads compute in float32: what BAM's loss does, and others must for 1:1."""

import pytest
import torch

from bam_mm import (
    DINOHead,
    MoCoV3Head,
    NNCLRHead,
    ReLICHead,
    SimCLRHead,
    SwAVHead,
    ViewLayout,
)

pytestmark = pytest.mark.slow

LAYOUT = ViewLayout(2, 0)


def rows(seed, count=16, width=32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator).bfloat16()


HEADS = {
    "DINO": lambda: (DINOHead(out_channels=32), (rows(0), rows(1), LAYOUT)),
    "ReLIC": lambda: (ReLICHead(temperature=0.05), (rows(0), rows(1), LAYOUT)),
    "SimCLR": lambda: (SimCLRHead(temperature=0.05), (rows(0),)),
    "MoCo v3": lambda: (MoCoV3Head(temperature=0.05), ([rows(0), rows(1)], [rows(2), rows(3)])),
    "NNCLR": lambda: (
        NNCLRHead(channels=32, queue_size=500, temperature=0.05),
        ([rows(0), rows(1)], [rows(2), rows(3)]),
    ),
    "SwAV": lambda: (SwAVHead(channels=32, num_prototypes=20), (rows(0), LAYOUT)),
}


def raised(argument):
    if isinstance(argument, list):
        return [x.float() for x in argument]
    return argument.float() if isinstance(argument, torch.Tensor) else argument


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_under_autocast_is_that_of_float32(name):
    values = []
    for low in (True, False):
        torch.manual_seed(0)
        head, arguments = HEADS[name]()
        if not low:
            arguments = [raised(argument) for argument in arguments]
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            values.append(head(*arguments))
    assert values[0].dtype == torch.float32
    assert torch.equal(values[0], values[1])


def test_bfloat16_would_change_a_loss():
    head, arguments = HEADS["SimCLR"]()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = type(head).forward.__wrapped__(head, *arguments)
    assert abs(rounded.float() - head(*arguments)) > 1e-4
