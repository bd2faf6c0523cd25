"""Channels-last weights: convolutions return the same features in channels-last format."""

from argparse import Namespace

import torch
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm.hooks import ChannelsLastHook
from bam_mm.registry import MODELS


def test_same_features_and_gradients_in_the_other_format():
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type="ResNet_CIFAR", depth=18, stem_channels=16, base_channels=16, out_indices=(3,))
    ).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    outputs, gradients = [], []
    for convert in (False, True):
        if convert:
            ChannelsLastHook().before_train(Namespace(model=model))
        model.zero_grad()
        model.train()
        [features] = model(images)
        features.square().sum().backward()
        outputs.append(features.detach())
        gradients.append(model.conv1.weight.grad.clone())
    assert outputs[1].is_contiguous(memory_format=torch.channels_last)
    assert not outputs[1].is_contiguous() and outputs[0].is_contiguous()
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-8, rtol=1e-8)


def test_a_fused_optimizer_continues_from_the_other_format():
    def weights(convert, fused):
        torch.manual_seed(0)
        layer = nn.Conv2d(4, 8, 3)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)
        images = torch.randn(2, 4, 8, 8)
        for step in range(3):
            if step == 1 and convert:
                wrapper = Namespace(optimizer=optimizer)
                ChannelsLastHook().before_train(Namespace(model=layer, optim_wrapper=wrapper))
            optimizer.zero_grad()
            layer(images).square().sum().backward()
            optimizer.step()
        average = optimizer.state[layer.weight]["exp_avg"]
        assert average.is_contiguous(memory_format=torch.channels_last) == convert
        return layer.weight.detach()

    wanted = weights(convert=False, fused=False)
    torch.testing.assert_close(weights(convert=True, fused=True), wanted, atol=1e-5, rtol=1e-4)
