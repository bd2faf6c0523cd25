"""The page of twenty models and ten tasks: the overview, its size, and copies of the table."""

import re

import pytest

from bam_mm.report import write_report
from bam_mm.report.data import report_data
from bam_mm.suite.records import read_records
from tests.report.made_records import made, make_many, write_large_suite, write_suite
from tests.report.reading import EVIL, Page, texts

MODELS, TASKS = 20, 10


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    make_many(folder, MODELS, TASKS)
    suite = write_large_suite(folder, TASKS)
    write_report(suite, folder)
    files = {path.name: path.read_text() for path in (folder / "report").iterdir()}
    records = sorted(read_records(folder), key=lambda record: record["place"])
    return report_data(suite, records, folder), files


def rows_of(page):
    """The tags of each row of the first table with their attributes."""
    table = re.search(r"<tbody>(.*?)</tbody>", page, flags=re.S)[1]
    return [re.findall(r"<t[hd] [^>]*", row) for row in table.split("</tr>")[:-1]]


def test_the_overview_has_each_model_once_and_a_column_for_each_task(large):
    data, files = large
    page = Page(files["index.html"])
    table = page.tables["Measured here"]
    assert table[0] == ["model", *(f"Protocol {n}, top-1" for n in range(TASKS))]
    names = [row[0] for row in table[1:]]
    assert len(names) == len({*names}) == MODELS and all(len(row) == 1 + TASKS for row in table)
    first = data["leaderboard"]["rows"][0][1]
    assert first["text"] == "40.0" and first["interval"] == "[38.8, 41.2]"
    assert "40.0 [38.8, 41.2]" in table[1][1]
    # The page opens at once, also on a phone.
    assert len(files["index.html"]) < 1_500_000


def test_rows_sort_by_data_of_the_cells(large):
    data, files = large
    values = [
        [re.search(r'data-value="([^"]*)"', tag)[1] for tag in row]
        for row in rows_of(files["index.html"])
    ]
    for column in range(1, 1 + TASKS):
        order = sorted(range(MODELS), key=lambda n: float(values[n][column]))
        wanted = sorted(range(MODELS), key=lambda n: (7 * n + 13 * (column - 1)) % 37)
        assert order == wanted
    assert all(head["first"] == "descending" for head in data["leaderboard"]["heads"][1:])
    firsts = [head["first"] for head in data["tasks"][0]["table"]["heads"][1:]]
    assert firsts == ["descending", "ascending", "ascending", "ascending"]


def test_colours_go_from_the_worst_to_the_best(large):
    data, files = large
    column = [row[3] for row in data["leaderboard"]["rows"]]
    ranked = sorted(column, key=lambda cell: cell["value"])
    heats = [cell["heat"] for cell in ranked]
    assert heats == sorted(heats) and (heats[0], heats[-1]) == (0, 4) and {*heats} == {*range(5)}
    assert [cell["best"] for cell in ranked] == [False] * (MODELS - 1) + [True]
    classes = [re.findall(r'class="h(\d)"', " ".join(row)) for row in rows_of(files["index.html"])]
    shown = [[str(cell["heat"]) for cell in row[1:]] for row in data["leaderboard"]["rows"]]
    assert classes == shown
    assert all("heat" not in cell for row in data["tasks"][0]["table"]["rows"] for cell in row)


def test_errors_are_hottest_where_they_are_lowest_and_equal_models_have_no_colour(tmp_path):
    for model, error in (("A", 3.0), ("B", 1.0), ("C", 2.0), ("D", float("nan"))):
        made(tmp_path, model, "video", 0, {"davis/J&F": 0.5, "davis/error": error})
    rows = report_data(write_suite(tmp_path), read_records(tmp_path), tmp_path)
    cells = [row[1:] for row in rows["leaderboard"]["rows"]]
    assert [cell[1].get("heat") for cell in cells] == [0, 4, 2, None]
    assert all("heat" not in cell[0] for cell in cells)


def test_a_setting_that_was_chosen_is_never_the_best(large):
    data, _ = large
    table = texts(data["tasks"][0]["table"])
    best = [[cell.startswith("*") for cell in row] for row in table[1:]]
    assert [sum(column) for column in zip(*best, strict=True)] == [0, 1, 1, 0, 0]
    assert {row[3] for row in table[1:]} == {"1", "0.1", "0.01", "0.001"}


def test_long_tables_have_a_filter_and_short_ones_do_not(large):
    data, files = large
    tables = [data["leaderboard"], *(task["table"] for task in data["tasks"])]
    tables += [part["table"] for part in data["cost"]] + [data["provenance"]["models"]]
    page = files["index.html"]
    assert page.count('class="filter" hidden') == len(tables) == page.count('type="search"')
    # So do legends: the curve, the loss and the score against the cost of each task are folded.
    assert page.count(f"<summary>{MODELS} names</summary>") == 3 * TASKS
    assert len(data["cost"][0]["charts"]) == TASKS


def test_the_table_can_be_copied_as_latex_and_markdown(large):
    _, files = large
    latex, text = files["leaderboard.tex"], files["leaderboard.md"]
    page = files["index.html"]
    for name, copy in (("LaTeX", latex), ("Markdown", text)):
        shown = re.search(f'aria-label="the table as {name}">(.*?)</pre>', page, flags=re.S)[1]
        assert shown.replace("&amp;", "&") == copy
    lines = latex.splitlines()
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert rf"\begin{{tabular}}{{l{TASKS * 'r'}}}" in lines and len(body) == MODELS
    assert all(line.count(" & ") == TASKS and line.endswith(r" \\") for line in body)
    assert body[0].startswith(r"method 0 vit-base-p16 00 & 40.0 {\scriptsize {[}38.8, 41.2{]}} & ")
    assert latex.count(r"\textbf{") == TASKS
    assert text in files["report.md"] and text.count("\n") == MODELS + 2


def test_what_latex_reads_as_commands_is_text(tmp_path):
    made(tmp_path, f"50 % a_b {EVIL} \\input{{x}}", "knn", 0, {"knn_k20/top1": 80.0}, slug="evil")
    write_report(write_suite(tmp_path), tmp_path)
    text = (tmp_path / "report/leaderboard.tex").read_text()
    row = text.splitlines()[5]
    assert row == (
        r"50 \% a\_b \textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}"
        r"\textbar{}\textasciigrave{}x\textasciigrave{}\textquotedbl{}'\& "
        r"\textbackslash{}input\{x\} & 80.0 \\"
    )
