"""What came out of a search, for people and for programs: a table, report.json and report.html, from one record."""

from node_oc.report.noise import noise_verdict, write_noise
from node_oc.report.page import write_report
from node_oc.report.stopping import write_stopping
from node_oc.report.table import metric, number, ranges, rows, table
from node_oc.report.words import answers, captions, certified, neighbour

__all__ = [
    "answers",
    "captions",
    "certified",
    "metric",
    "neighbour",
    "noise_verdict",
    "number",
    "ranges",
    "rows",
    "table",
    "write_noise",
    "write_report",
    "write_stopping",
]
