"""Writes the report of a folder of records, and reads its page."""

from html.parser import HTMLParser

from bam_mm.report import write_report
from bam_mm.report.data import report_data
from bam_mm.suite.records import read_records
from tests.report.made_records import write_suite

EVIL = "<script>alert(1)</script>|`x`\"'&"


class Page(HTMLParser):
    """Tables by caption, and every tag and link of a page."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.links, self.tags, self.alts, self.stack = {}, [], [], [], []
        self.heads, self.where, self.rows = [], None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        self.links += [given[k] for k in ("src", "href", "action", "data") if k in given]
        if tag == "img":
            self.alts.append(given.get("alt"))
        if tag == "table":
            self.rows = []
        elif tag == "tr" and self.rows is not None:
            self.rows.append([])
        elif tag in ("td", "th") and self.rows is not None:
            self.rows[-1].append("")
        if tag in ("caption", "td", "th"):
            self.where = tag
        if tag == "caption":
            self.caption = ""
        if tag == "strong" and self.where:
            self.rows[-1][-1] += "*"

    def handle_endtag(self, tag):
        if tag in ("caption", "td", "th"):
            self.where = None
        if tag == "table":
            self.tables[self.caption.split(".")[0].split(",")[0]] = self.rows
            self.rows = None

    def handle_data(self, data):
        if self.where == "caption":
            self.caption += data
        elif self.where:
            self.rows[-1][-1] += data


def report(folder):
    suite = write_suite(folder)
    write_report(suite, folder)
    files = {path.name: path.read_text() for path in (folder / "report").iterdir()}
    return suite, files, Page(files["index.html"])


def data_of(folder):
    return report_data(write_suite(folder), read_records(folder), folder)


def texts(table):
    """The heads and the cells of a table; a star marks the best of a column."""
    rows = [["*" * cell["best"] + cell["text"] for cell in row] for row in table["rows"]]
    return [[head["text"] for head in table["heads"]], *rows]
