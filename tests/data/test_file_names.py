"""Which files are hidden, and the order of numbered names."""

import random
from pathlib import Path

import pytest

from bam_mm.data.file_names import is_hidden, natural_key


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store",
        "._photo.jpg",
        ".ipynb_checkpoints",
        "Thumbs.db",
        "@eaDir",
        "__MACOSX",
        "desktop.ini",
    ],
)
def test_files_of_systems_are_hidden(name):
    assert is_hidden(name)
    assert is_hidden(f"/data/photos/{name}")
    assert is_hidden(Path("photos") / name) and is_hidden(f"photos/{name}/")


@pytest.mark.parametrize("name", ["photo.jpg", "a.b.png", "_draft.png", "/home/.data/x.jpg", "."])
def test_files_of_users_are_not_hidden(name):
    assert not is_hidden(name)


def test_numbers_in_names_count_by_value():
    right = ["1.jpg", "2.jpg", "10.jpg", "frame02.jpg", "frame2.jpg", "frame10a9.jpg", "x.jpg"]
    for seed in range(20):
        shuffled = random.Random(seed).sample(right, len(right))
        assert sorted(shuffled, key=natural_key) == right


def test_digits_of_other_scripts_do_not_break_the_order():
    names = ["a²", "a٣", "a1", "a10", "a2"]
    assert sorted(names, key=natural_key)[:3] == ["a1", "a2", "a10"]
