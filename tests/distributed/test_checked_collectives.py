"""The check of collectives finds every function of torch.distributed that communicates."""

import builtins
import inspect
from types import FunctionType

import mmengine.dist
import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from mmdet.utils import reduce_mean
from torch.distributed import distributed_c10d
from torch.distributed.nn.functional import all_gather as gather_with_gradient
from torch.testing._internal.distributed.fake_pg import FakeStore

from bam_mm import distributed
from tests.distributed.checked_collectives import (
    PACKAGE,
    CheckedCollectives,
    UncheckedCollectiveError,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

QUIET = {
    "destroy_process_group", "get_backend", "get_backend_config", "get_debug_level",
    "get_default_backend_for_device", "get_global_rank", "get_group_rank", "get_node_local_rank",
    "get_pg_count", "get_process_group_ranks", "get_rank", "get_world_size",
    "init_process_group", "is_backend_available", "is_gloo_available", "is_initialized",
    "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "is_ucc_available",
    "is_xccl_available", "new_group", "new_subgroups", "new_subgroups_by_enumeration",
    "shrink_group", "split_group", "supports_complex",
}  # fmt: skip
"""Functions of torch.distributed that communicate no data."""

CALLS = {
    "all_gather": "[x, x], x",
    "all_gather_coalesced": "[[x, x]], [x]",
    "all_gather_into_tensor": "two, x",
    "all_gather_object": "[None, None], 1",
    "all_reduce": "x",
    "all_reduce_coalesced": "[x]",
    "all_to_all": "[x, x], [x, x]",
    "all_to_all_single": "two, two",
    "barrier": "",
    "batch_isend_irecv": "[dist.P2POp(dist.isend, x, 1)]",
    "broadcast": "x, 0",
    "broadcast_object_list": "[1]",
    "gather": "x, [x, x]",
    "gather_object": "1, [None, None]",
    "irecv": "x, 1",
    "isend": "x, 1",
    "monitored_barrier": "",
    "recv": "x, 1",
    "recv_object_list": "[None], 1",
    "reduce": "x, 0",
    "reduce_scatter": "x, [x, x]",
    "reduce_scatter_tensor": "x, two",
    "scatter": "x, [x, x]",
    "scatter_object_list": "[None], [1, 2]",
    "send": "x, 1",
    "send_object_list": "[1], 1",
}
"""Arguments of the functions that communicate."""


@pytest.fixture(autouse=True)
def two_processes(monkeypatch):
    """A group of two processes whose collectives do nothing."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    # The only function that depends on the name of the backend.
    monkeypatch.setattr(distributed_c10d, "get_backend", lambda group=None: "gloo")
    yield
    dist.destroy_process_group()


def call(text, file):
    """Evaluate an expression as if it stood in a file of the package."""
    names = {"x": torch.ones(1), "two": torch.ones(2), "dist": dist, "functional": functional}
    names |= {"gather_with_gradient": gather_with_gradient, "__builtins__": builtins}
    with CheckedCollectives():
        FunctionType(compile(text, str(PACKAGE / file), "eval"), names)()


def functions():
    """Return the names of all functions that torch.distributed exports."""
    return {n for n in distributed_c10d.__all__ if inspect.isfunction(getattr(dist, n, None))}


def test_no_function_is_forgotten():
    assert functions() - QUIET == set(CALLS)


@pytest.mark.parametrize("file", ["hooks/skipped_images.py", "distributed.py"])
@pytest.mark.parametrize(
    "text",
    [
        *(f"dist.{name}({arguments})" for name, arguments in CALLS.items()),
        "functional.all_reduce(x, 'sum', dist.group.WORLD)",
        "gather_with_gradient(x)",
        "dist.nn.functional.all_reduce(x)",
        "dist.group.WORLD.allreduce([x])",
    ],
)
def test_unchecked_calls_of_the_package(text, file):
    with pytest.raises(UncheckedCollectiveError, match=file):
        call(text, file)


def test_checked_calls_pass():
    with CheckedCollectives() as check:
        distributed.sum_over_processes(torch.ones(2))
        mmengine.dist.all_reduce(torch.ones(2))
        mmengine.dist.broadcast(torch.ones(2))
        mmengine.dist.barrier()
    assert [caller for caller, _ in check.calls] == ["bam_mm"] + ["mmengine"] * 3


def test_a_tensor_may_be_communicated_once():
    x = torch.ones(2)
    with CheckedCollectives():
        distributed._reduce(x)
        with pytest.raises(UncheckedCollectiveError):
            dist.all_reduce(x)


def test_functions_of_other_libraries_that_move_nothing():
    x = torch.ones(2)
    for function in (mmengine.dist.gather, reduce_mean):
        with CheckedCollectives(), pytest.raises(UncheckedCollectiveError):
            function(x)
