"""The documentation covers what there is: modules in the API reference, links of the READMEs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE_DOCS = [
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("configs/*/*.md")] if path.name != "LICENSE"
]


def test_every_module_is_in_the_api_reference():
    text = "\n".join(path.read_text() for path in (ROOT / "docs/api").glob("*.md"))
    listed = re.findall(r"^\.\. automodule:: ([\w.]+)$", text, flags=re.M)
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "bam_mm").rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py") and path.parent.name != "cli"
    }
    assert len(listed) == len(set(listed))
    assert set(listed) - {"bam_mm.report"} == modules


@pytest.mark.parametrize("path", OUTSIDE_DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
    broken = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not broken and len(OUTSIDE_DOCS) >= 9
