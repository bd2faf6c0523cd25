"""Facts that a run writes for its record."""

import pytest

from bam_mm.launch.run_facts import read_facts, write_facts

pytestmark = pytest.mark.slow


def test_peak_memory_is_that_of_this_process(tmp_path):
    assert read_facts(tmp_path, "test") == {}
    write_facts(tmp_path, "test")
    before = read_facts(tmp_path, "test")
    assert before["processes"] == 1 and before["peak_mb"] > 50
    # Larger than the peak so far, so the peak has to rise by at least 64 MiB.
    block = bytearray(int((before["peak_mb"] + 64) * 2**20))
    block[::4096] = b"x" * len(block[::4096])
    write_facts(tmp_path, "test")
    assert read_facts(tmp_path, "test")["peak_mb"] > before["peak_mb"] + 60
