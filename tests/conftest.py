"""Settings and fixtures of all tests."""

import gc
import os

import pytest

# pytest-xdist runs one process per core, so additional threads would only compete with each other.
# This is set before torch is imported, and inherited by the tools that tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")


SLOW_FOLDERS = {"end_to_end", "distributed"}
"""Folders whose tests start tools or processes; other modules set ``pytestmark`` themselves. Tests
with random files are slow, too."""


def pytest_collection_modifyitems(items):
    """Mark what ``make test-fast`` leaves out."""
    for item in items:
        if SLOW_FOLDERS.intersection(item.path.parts) or "fuzz" in item.nodeid:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """Keep the imported modules out of garbage collection.

    mmengine collects garbage whenever it builds a data set, which takes a quarter of a second with
    all libraries imported.
    """
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def restore_scopes_after_module():
    """Restore the default scopes (mmdet, mmseg, ...) after each module."""
    yield from _restore_scopes()


@pytest.fixture(autouse=True)
def restore_scopes_after_test(restore_scopes_after_module):
    """Restore the default scopes after each test."""
    yield from _restore_scopes()


def _restore_scopes():
    from mmengine.registry import DefaultScope

    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
