"""Charts: styles of lines and ticks of axes."""

import re

from bam_mm.report.chart import line_chart, ticks


def test_twenty_lines_have_twenty_styles():
    lines = {f"model {n}": [(1, n), (2, n + 1)] for n in range(20)}
    drawn = line_chart(lines, x_label="x", y_label="y")
    styles = re.findall(r'<path class="line (s\d w\d)" d="M[^"]*"><title>', drawn)
    assert len(styles) == len({*styles}) == 20


def test_ticks_are_round_and_hold_the_data():
    assert ticks(0.0, 1.0) == [0, 0.25, 0.5, 0.75, 1]
    assert ticks(61.3, 78.9) == [60, 65, 70, 75, 80]
    for low, high in ((3.0, 3.0), (-0.002, 0.011), (1e5, 9e6)):
        found = ticks(low, high)
        assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8
    assert line_chart({"a": [(1, float("nan"))]}, x_label="x", y_label="y") == ""
