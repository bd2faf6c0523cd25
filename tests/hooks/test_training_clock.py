"""The time of a training that is interrupted and resumed from a real checkpoint."""

import pytest
from mmengine.visualization import Visualizer

from bam_mm.hooks import training_clock as module
from tests.hooks.tiny_runner import config_of, run


def test_a_resumed_training_forgets_the_epochs_that_it_repeats(tmp_path, monkeypatch):
    # Each look at the clock takes a second: so does each epoch.
    ticks = iter(range(100))
    monkeypatch.setattr(module, "_now", lambda: float(next(ticks)))
    monkeypatch.setattr(module, "peak_mb", lambda: None)

    hooks = dict(custom_hooks=[dict(type="bam_mm.TrainingClockHook")])
    hooks["default_hooks"] = dict(checkpoint=dict(interval=2))
    logged = []

    def log(self, values, step=0, **_):
        if "clock/seconds" in values:
            logged.append((values["clock/epoch"], values["clock/seconds"], step))

    monkeypatch.setattr(Visualizer, "add_scalars", log)
    # It fails in the fourth epoch of two iterations; the last checkpoint is that of epoch 2.
    failing = config_of(tmp_path, epochs=5, model=dict(fail_at=7), **hooks)
    with pytest.raises(RuntimeError, match="out of range"):
        run(failing, monkeypatch)
    assert logged == [(1, 1.0, 2), (2, 2.0, 4), (3, 3.0, 6)]
    logged.clear()
    # From there on, it has six iterations, and does not fail.
    run(config_of(tmp_path, epochs=5, model=dict(fail_at=7), resume=True, **hooks), monkeypatch)
    assert [row[:2] for row in logged] == [(3, 3.0), (4, 4.0), (5, 5.0)]
