"""Curves of a run: what is read of a damaged log, and an empty plot."""

import json

import pytest

from bam_mm import InputError
from bam_mm.figures.curves import plot_runs, read_scalars


def log_of(folder, *lines):
    path = folder / "20260101_000000/vis_data/scalars.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return folder


def test_a_run_that_was_killed_while_it_wrote(tmp_path):
    lines = [json.dumps(dict(step=step, loss=1.0 / step)) for step in (1, 2)]
    assert read_scalars(log_of(tmp_path, *lines, '{"step": 3, "lo'))["loss"] == [(1, 1), (2, 0.5)]
    with pytest.raises(InputError, match=r"scalars\.json, line 1: no entry of a log \('\{\"st'\)"):
        read_scalars(log_of(tmp_path, '{"st', *lines))


def test_a_plot_without_a_point_stops(tmp_path):
    runs = {"run": {"loss": [(5, 1.0), (9, 0.5)]}}
    with pytest.raises(InputError, match="--until 4: the first point is at iteration 5; choose"):
        plot_runs(runs, tmp_path / "a.png", until=4)
    assert plot_runs(runs, tmp_path / "a.png", until=5).is_file()
