"""The report as one HTML page that works without network and without other files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bam_mm.report.chart import line_chart, scatter_chart


def render_page(data: Mapping[str, Any]) -> str:
    """Lay out the report with ``templates/page.html.j2``.

    Args:
        data: Contents of the page, from :func:`bam_mm.report.data.report_data`.

    Returns:
        HTML that holds its stylesheet, its script and its pictures.
    """
    loader = PackageLoader("bam_mm.report")
    environment = Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )

    def source(name: str) -> Markup:
        """A file of ``templates/`` as it is."""
        return Markup(loader.get_source(environment, name)[0])

    # Only these two are inserted without escaping: files of this package, and charts, whose names
    # and labels chart.py escapes itself.
    environment.globals["source"] = source
    environment.filters["svg"] = _svg
    return environment.get_template("page.html.j2").render(report=data)


def _svg(chart: Mapping[str, Any]) -> Markup:
    draw = scatter_chart if "points" in chart else line_chart
    return Markup(draw(**chart))
