"""torch's SyncBatchNorm on a CPU: its own collectives, with its GPU kernels written in torch."""

from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
import torch.distributed as dist
from torch.nn.modules._functions import SyncBatchNorm


def _dims(x):
    return [d for d in range(x.ndim) if d != 1]


def _wide(vector, x):
    return vector.view(1, -1, *[1] * (x.ndim - 2))


def batch_norm_stats(x, eps):
    return x.mean(_dims(x)), (x.var(_dims(x), unbiased=False) + eps).rsqrt()


def batch_norm_gather_stats_with_counts(x, mean, invstd, r_mean, r_var, momentum, eps, counts):
    share = (counts / counts.sum())[:, None]
    whole = (share * mean).sum(0)
    var = (share * (invstd**-2 - eps + mean.square())).sum(0) - whole.square()
    return whole, (var + eps).rsqrt()


def batch_norm_elemt(x, weight, bias, mean, invstd, eps):
    return (x - _wide(mean, x)) * _wide(invstd * weight, x) + _wide(bias, x)


def batch_norm_backward_reduce(grad, x, mean, invstd, weight, *wanted):
    centred = (grad * (x - _wide(mean, x))).sum(_dims(x))
    total = grad.sum(_dims(x))
    return total, centred, centred * invstd, total


def batch_norm_backward_elemt(grad, x, mean, invstd, weight, sum_dy, sum_dy_xmu, counts):
    n = counts.sum()
    along = (x - _wide(mean, x)) * _wide(invstd.square() * sum_dy_xmu / n, x)
    return (grad - _wide(sum_dy / n, x) - along) * _wide(invstd * weight, x)


def forward(layer, x):
    """Do what the layer does on a GPU; it refuses tensors of a CPU."""
    settings = layer.weight, layer.bias, layer.running_mean, layer.running_var
    group, world = dist.group.WORLD, dist.get_world_size()
    return SyncBatchNorm.apply(x, *settings, layer.eps, layer.momentum, group, world)


@contextmanager
def sync_bn_on_cpu():
    kernels = (
        batch_norm_stats,
        batch_norm_gather_stats_with_counts,
        batch_norm_elemt,
        batch_norm_backward_reduce,
        batch_norm_backward_elemt,
    )
    with ExitStack() as stack:
        for kernel in kernels:
            stack.enter_context(mock.patch.object(torch, kernel.__name__, kernel))
        stack.enter_context(mock.patch.object(torch.nn.SyncBatchNorm, "forward", forward))
        yield
