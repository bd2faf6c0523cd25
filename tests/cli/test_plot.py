"""bam-mm plot with reference curves: files, lines and wrong combinations of options."""

import sys
from types import SimpleNamespace

import pytest

from bam_mm import InputError
from bam_mm.cli.plot import main, named
from bam_mm.hooks.reference_curves import read_reference
from tests.figures.work_folders import work_folder

KNN = "knn/teacher_top1"


@pytest.fixture
def plot(monkeypatch, capsys):
    """A function that runs the command and returns the lines that it prints."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bam-mm plot", *map(str, arguments)])
        main()
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def seeds(tmp_path):
    return [
        work_folder(tmp_path / f"seed{seed}", {KNN: {10: 30.0 + seed, 20: 40.0}}, seed=seed)
        for seed in (0, 1)
    ]


def test_a_reference_is_written_and_a_run_compared_with_it(plot, seeds, tmp_path):
    file = tmp_path / "new/mine.json"
    assert plot(*seeds, "--save-reference", file, "--title", "Ours") == [str(file)]
    assert read_reference(file).series[KNN].at(1) == (30.5, 30.0, 31.0)
    running = work_folder(tmp_path / "running", {KNN: {10: 29.0}}, seed=5, ended=False)
    picture = tmp_path / "a.png"
    lines = plot(f"now={running}", seeds[1], "--against", file, "--out", picture)
    assert lines == [
        "now against mine (Ours):",
        "  kNN top-1, teacher (%): 29 at epoch 1, reference 30 to 31: below by 1",
        "seed1 against mine (Ours):",
        "  kNN top-1, teacher (%): 40 at epoch 2, reference 40 to 40: inside",
        str(picture),
    ]
    assert picture.stat().st_size > 5000


@pytest.mark.parametrize(
    ("entry", "name", "folder"),
    [
        ("work_dirs/lr=0.1", "", "work_dirs/lr=0.1"),
        ("./lr=0.1", "", "./lr=0.1"),
        ("/data/lr=0.1", "", "/data/lr=0.1"),
        ("mine=work_dirs/lr=0.1", "mine", "work_dirs/lr=0.1"),
        ("mine=/data/lr=0.1", "mine", "/data/lr=0.1"),
        ("lr=0.1=work_dirs/a", "lr=0.1", "work_dirs/a"),
        ("seed 0=runs", "seed 0", "runs"),
        ("runs", "", "runs"),
    ],
)
def test_a_name_has_no_slash_before_the_equals_sign(entry, name, folder):
    assert named(SimpleNamespace(work_dirs=[entry])) == [(name, folder)]


def test_a_folder_with_an_equals_sign_in_its_name(plot, tmp_path):
    run = work_folder(tmp_path / "lr=0.1", {KNN: {10: 29.0, 20: 30.0}})
    file = tmp_path / "x.json"
    assert plot(run, "--save-reference", file) == [str(file)]
    lines = plot(run, f"mine={run}", "--against", file, "--out", tmp_path / "a.png")
    headings = [line.partition(" (")[0] for line in lines if " against " in line]
    assert headings == ["lr=0.1 against x", "mine against x"]


def test_two_references_of_the_same_file_name_keep_their_paths(plot, seeds, tmp_path):
    for folder in ("a", "b"):
        plot(seeds[0], "--save-reference", tmp_path / folder / "x.json")
    files = [tmp_path / folder / "x.json" for folder in ("a", "b")]
    lines = plot(seeds[1], "--against", *files, "--out", tmp_path / "a.png")
    assert [line for line in lines if "against" in line] == [
        f"seed1 against {file} (bam_tiny_toy on data/toy/images, 1 seed):" for file in files
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--against", "x", "--save-reference", "y"], "pass either --against or --save-reference"),
        (["--title", "x"], "--title and --dataset belong to --save-reference"),
    ],
)
def test_options_that_do_not_go_together(plot, seeds, capsys, options, words):
    with pytest.raises(SystemExit):
        plot(seeds[0], *options)
    assert words in capsys.readouterr().err


def test_wrong_names(plot, seeds, tmp_path):
    with pytest.raises(InputError, match=r"neither the path of a \.json file nor a name"):
        plot(seeds[0], "--save-reference", "a/b")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--save-reference .*folder"):
        plot(seeds[0], "--save-reference", tmp_path / "file/x.json")
    with pytest.raises(InputError, match=r"x\.json: no such file; check the path"):
        plot(seeds[0], "--against", "x.json", "--out", tmp_path / "a.png")
