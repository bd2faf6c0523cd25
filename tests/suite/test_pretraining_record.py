"""What the log of a pretraining tells, and the clock that writes its time."""

from types import SimpleNamespace

from bam_mm.hooks import TrainingClockHook
from bam_mm.hooks import training_clock as clock
from bam_mm.suite.pretraining_record import measurements, peak_memory


def test_the_peak_of_memory_is_that_of_all_starts():
    series = {"clock/peak_mb": [(4, 900.0), (8, 800.0)], "memory": [(1, 40.0), (5, 30.0)]}
    last = {"peak_mb": 200.0, "peak_gpu_mb": 10.0}
    assert peak_memory(series, last) == {"peak_mb": 900.0, "peak_gpu_mb": 40.0}
    assert peak_memory({}, last) == last
    assert peak_memory({}, {"peak_gpu_mb": None}) == {"peak_mb": None, "peak_gpu_mb": None}


def test_the_log_of_a_pretraining_as_accuracy_over_epochs_and_time():
    series = {
        "clock/seconds": [(10, 30.0), (20, 40.0), (30, 50.0)],
        "clock/epoch": [(10, 1.0), (20, 2.0), (30, 3.0)],
        "knn/student_top1": [(0, 10.0), (20, 40.0), (30, 60.0)],
        "knn/teacher_top1": [(0, 10.0), (20, 50.0), (30, 70.0)],
    }
    found = measurements(series, batch=64)
    assert found["branch"] == "teacher"
    assert found["knn"]["teacher"] == [[0, 0, 10.0], [2, 40.0, 50.0], [3, 50.0, 70.0]]
    assert found["knn"]["student"][-1] == [3, 50.0, 60.0]
    # The first epoch, in which a GPU is still warming up, does not count in the median.
    assert (found["seconds_per_epoch"], found["images_per_s"]) == (10.0, 64.0)
    assert (found["epochs"], found["seconds"]) == (3.0, 50.0)
    del series["knn/teacher_top1"]
    assert measurements(series, batch=64)["branch"] == "student"
    nothing = measurements({}, batch=64)
    assert nothing == {
        "knn": {}, "branch": "", "epochs": None, "seconds": None, "seconds_per_epoch": None,
        "images_per_s": None,
    }  # fmt: skip


def test_the_clock_leaves_out_what_follows_an_epoch_and_goes_on_after_a_resume(monkeypatch):
    now, info, logged = [100.0], {}, []
    monkeypatch.setattr(clock, "_now", lambda: now[0])
    monkeypatch.setattr(clock, "peak_mb", lambda: 7.0)
    runner = SimpleNamespace(
        epoch=0, iter=0,
        message_hub=SimpleNamespace(get_info=info.get, update_info=info.__setitem__),
        visualizer=SimpleNamespace(add_scalars=lambda v, step: logged.append((step, v))),
    )  # fmt: skip

    def train(hook, epochs, seconds):
        hook.before_train(runner)
        for _ in range(epochs):
            hook.before_train_epoch(runner)
            now[0] += seconds
            runner.iter += 5
            hook.after_train_epoch(runner)
            runner.epoch += 1
            now[0] += 1000  # kNN

    train(TrainingClockHook(), 2, 3.0)
    saved = dict(info)
    train(TrainingClockHook(), 1, 100.0)
    # Killed, and resumed from the checkpoint of epoch 2, which is older than the last epoch.
    info.clear()
    info.update(saved)
    runner.iter, runner.epoch = 10, 2
    train(TrainingClockHook(), 1, 4.0)
    peak = {"clock/peak_mb": 7.0}
    assert logged == [
        (5, {"clock/seconds": 3.0, "clock/epoch": 1, **peak}),
        (10, {"clock/seconds": 6.0, "clock/epoch": 2, **peak}),
        (15, {"clock/seconds": 106.0, "clock/epoch": 3, **peak}),
        (15, {"clock/seconds": 10.0, "clock/epoch": 3, **peak}),
    ]
