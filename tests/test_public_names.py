"""``bam_mm.NAME`` exists for every registered component and every name that a package exports."""

import importlib
import inspect

import pytest
from mmengine.registry import Registry

import bam_mm
from bam_mm import registry
from bam_mm.registry import PACKAGES

REGISTRIES = [value for value in vars(registry).values() if isinstance(value, Registry)]
OURS = [value for value in REGISTRIES if value.scope == registry.SCOPE]


def test_names_are_those_that_the_packages_export():
    names = ["InputError", "ViewLayout", "__version__"]
    for package in PACKAGES:
        names += importlib.import_module(f"bam_mm.{package}").__all__
    assert bam_mm.__all__ == names and len(set(names)) == len(names)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.name)
def test_every_registered_component_is_a_public_name(kind):
    kind.import_from_location()
    classes = [member for member in kind.module_dict.values() if inspect.isclass(member)]
    # Other tests register stand-ins of their own.
    classes = [member for member in classes if member.__module__.startswith("bam_mm.")]
    for member in classes:
        assert getattr(bam_mm, member.__name__) is member
    assert len(OURS) == 13 and kind.module_dict


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Poetry'"):
        bam_mm.Poetry  # noqa: B018
