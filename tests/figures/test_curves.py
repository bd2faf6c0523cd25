"""Curves of a run: what is read of a damaged log, and an empty plot."""

import json

import pytest

from bam_mm import InputError
from bam_mm.figures import curves
from bam_mm.figures.curves import panels_of, plot_runs, read_scalars


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
    for nothing in ({}, {"lr": [(5, 0.1)]}, {"loss": []}):
        with pytest.raises(InputError, match=r"^new has logged nothing .*wait until"):
            plot_runs({**runs, "new": nothing}, tmp_path / "a.png")


TEACHER, STUDENT = "knn/teacher_top1", "knn/student_top1"


@pytest.mark.parametrize(
    ("logged", "keys"),
    [
        ([["loss", STUDENT]], ["loss", STUDENT]),
        ([[STUDENT, TEACHER, "lr"]], [TEACHER]),
        ([[TEACHER, STUDENT], ["target_entropy"]], ["target_entropy", TEACHER]),
        # Otherwise nothing would show the second run's.
        ([[TEACHER, STUDENT], [STUDENT]], [TEACHER, STUDENT]),
        ([["lr"], []], []),
    ],
)
def test_the_students_knn_has_a_panel_if_a_run_has_no_teacher(logged, keys):
    assert [key for key, _ in panels_of(logged)] == keys


@pytest.fixture
def titles(monkeypatch):
    """Titles of the panels of the last figure."""
    found = []

    def save(figure, out):
        found[:] = [(axis.get_title(), len(axis.lines)) for axis in figure.axes]

    monkeypatch.setattr(curves, "save_figure", save)
    return found


def test_a_plot_of_runs_without_a_teacher_shows_their_knn(titles, tmp_path):
    simclr = {"loss": [(5, 1.0)], STUDENT: [(5, 31.0)], TEACHER: []}
    byol = {**simclr, TEACHER: [(5, 32.0)]}
    student, teacher = ("kNN top-1, student (%)", "kNN top-1, teacher (%)")
    plot_runs({"a": simclr, "b": simclr}, tmp_path / "a.png")
    assert titles == [("loss (nats)", 2), (student, 2)]
    plot_runs({"a": byol}, tmp_path / "a.png")
    assert titles == [("loss (nats)", 1), (teacher, 1)]
    plot_runs({"a": byol, "b": simclr}, tmp_path / "a.png")
    assert titles == [("loss (nats)", 2), (teacher, 1), (student, 2)]
