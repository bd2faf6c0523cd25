"""Settings of every test."""

import os

import pytest

# One process of pytest-xdist a core: threads of their own would only get in each other's way. Set
# before torch is imported, and inherited by the tools that tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="module")
def scopes_of_a_module():
    """A module's default scopes (mmdet, mmseg, ...) end with it, whichever comes next."""
    yield from _scopes_left_alone()


@pytest.fixture(autouse=True)
def scopes_of_a_test(scopes_of_a_module):
    """A test's default scopes end with it."""
    yield from _scopes_left_alone()


def _scopes_left_alone():
    from mmengine.registry import DefaultScope

    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
