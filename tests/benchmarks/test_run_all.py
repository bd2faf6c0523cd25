"""Tests of ``run_all.py``: its comparison with the record, and the results of the scripts."""

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import run_all
from benchmarks.measuring import add_json_option, write_json
from benchmarks.run_all import BENCHMARKS, GPU_BENCHMARKS, compare, merge, ratios_of


def verdicts_by_name(recorded, now):
    return {verdict.name: verdict.word for verdict in compare(recorded, now)}


def test_a_ratio_may_drop_to_seven_tenths_but_not_below():
    recorded = {"loss": {"time": 2.0, "memory": 5.0}, "knn": {"time": 10.0}}
    now = {"loss": {"time": 1.4, "memory": 3.499}, "knn": {"time": 99.0}}
    assert verdicts_by_name(recorded, now) == {
        "loss: time": "ok",
        "loss: memory": "SLOWER",
        "knn: time": "ok",
    }
    assert [v.fails for v in compare(recorded, now)] == [False, True, False]


def test_missing_ratios_fail_and_new_ratios_do_not():
    recorded = {"loss": {"time": 2.0}, "knn": {"time": 3.0, "memory": 4.0}}
    now = {"knn": {"time": 3.0, "bank of float16": 0.1}, "data": {"images": 4.0}}
    verdicts = compare(recorded, now)
    assert {v.name: (v.recorded, v.now, v.word, v.fails) for v in verdicts} == {
        "loss: time": (2.0, None, "MISSING", True),
        "knn: time": (3.0, 3.0, "ok", False),
        "knn: memory": (4.0, None, "MISSING", True),
        "knn: bank of float16": (None, 0.1, "new", False),
        "data: images": (None, 4.0, "new", False),
    }
    assert str(verdicts[0]).split() == ["loss:", "time", "2.00", "-", "MISSING"]
    assert compare({}, {}) == []


def test_recording_some_benchmarks_keeps_the_others():
    old = {"machine": {"cpu": "a"}, "ratios": {"time": 1.0}, "figures": {}}
    new = {"ratios": {"time": 2.0}, "figures": {"seconds": 3}}
    record = merge({"benchmarks": {"loss": old, "knn": old}}, {"knn": new}, {"cpu": "b"})
    assert record["benchmarks"] == {"knn": {**new, "machine": {"cpu": "b"}}, "loss": old}
    assert ratios_of(record["benchmarks"], ["knn", "data"]) == {"knn": {"time": 2.0}}


def test_json_option_writes_ratios_and_figures(tmp_path):
    parser = argparse.ArgumentParser()
    add_json_option(parser)
    args = parser.parse_args(["--json", str(tmp_path / "out.json")])
    write_json(args.json, {"time": 2.5}, {"seconds": [1, 2]})
    assert json.loads(args.json.read_text()) == {
        "ratios": {"time": 2.5},
        "figures": {"seconds": [1, 2]},
    }
    write_json(parser.parse_args([]).json, {"time": 2.5}, {})
    for wrong in (float("nan"), float("inf"), 0, -1):
        with pytest.raises(ValueError, match="ratio 'time'"):
            write_json(None, {"time": wrong}, {})


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("ratio = 1.41", 0, "0 of 1 ratios below"),
        ("ratio = 1.39", 1, "SLOWER"),
        ("raise SystemExit(3)", 1, "failed with exit code 3"),
        (None, 1, "there is no benchmarks/knn.py"),
    ],
)
def test_exit_code_of_a_check(tmp_path, monkeypatch, capfd, script, code, message):
    # A stand-in for the script, which writes a ratio; the recorded ratio is 2.
    monkeypatch.setattr(run_all, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    if script:
        lines = [
            script,
            "import json, sys  # instead of add_json_option",
            "out = sys.argv[sys.argv.index('--json') + 1]",
            "open(out, 'w').write(json.dumps({'ratios': {'time': ratio}, 'figures': {}}))",
        ]
        (tmp_path / "benchmarks/knn.py").write_text("\n".join(lines))
    record = tmp_path / "recorded.json"
    entry = {"ratios": {"time": 2.0}, "figures": {}, "machine": run_all.machine()}
    record.write_text(json.dumps({"benchmarks": {"knn": entry, "loss": entry}}))
    monkeypatch.setattr(
        sys, "argv", ["run_all.py", "--check", "--only", "knn", "--file", str(record)]
    )
    assert run_all.main() == code
    assert message in capfd.readouterr().out


@pytest.mark.parametrize("gpu", [None, "a card"])
def test_default_benchmarks_and_their_arguments(tmp_path, monkeypatch, gpu):
    commands = []

    def run(command, cwd):
        commands.append(command[1:2] + command[4:])
        Path(command[command.index("--json") + 1]).write_text(
            '{"ratios": {"time": 1}, "figures": {}}'
        )
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(run_all.subprocess, "run", run)
    monkeypatch.setattr(run_all, "machine", lambda: {"gpu": gpu})
    record = tmp_path / "recorded.json"
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--record", "--file", str(record)])
    assert run_all.main() == 0
    names = list(BENCHMARKS) + (list(GPU_BENCHMARKS) if gpu else [])
    assert sorted(json.loads(record.read_text())["benchmarks"]) == sorted(names)
    here = Path(run_all.ROOT) / "benchmarks"
    wanted = {**BENCHMARKS, **GPU_BENCHMARKS}
    assert commands == [[str(here / wanted[n][0]), *wanted[n][1:]] for n in names]
    # The benchmarks for CPUs run on the CPU, even if there is a GPU.
    for name, command in zip(names, commands, strict=True):
        device = command[command.index("--device") + 1] if "--device" in command else None
        if name in GPU_BENCHMARKS:
            assert device == "cuda"
        else:
            assert device == ("cpu" if command[0].endswith("training_step.py") else None)


def test_gpu_benchmarks_need_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(run_all, "machine", lambda: {"gpu": None})
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--record", "--only", "knn", "gpu_loss"])
    with pytest.raises(SystemExit) as error:
        run_all.main()
    assert error.value.code == 2
    assert "--only gpu_loss: torch finds no GPU here (make doctor" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*BENCHMARKS, *GPU_BENCHMARKS])
def test_each_script_has_the_options_that_are_passed_to_it(name):
    script, *options = {**BENCHMARKS, **GPU_BENCHMARKS}[name]
    text = (run_all.ROOT / "benchmarks" / script).read_text()
    assert "add_json_option" in text
    for option in options:
        assert not option.startswith("--") or f'"{option}"' in text


def test_processors_of_the_same_name_are_distinguished():
    text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\n"
    other = text.replace("25", "26").replace("processor\t: 0", "processor\t: 1")
    assert run_all.processor_of(text + other) == "AMD EPYC, cpu family 25, model 17"
    assert run_all.processor_of(other) == "AMD EPYC, cpu family 26, model 17"
    assert run_all.processor_of("model name : Cortex") == "Cortex"
    assert run_all.processor_of("Features : neon") == ""
