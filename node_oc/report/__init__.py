"""What came out of a search, for people and for programs: a table, report.json and report.html, from one record."""

from node_oc.report.discrete import write_discrete
from node_oc.report.noise import noise_verdict, write_noise
from node_oc.report.packed import packed_table, speed_sentences, speed_table
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
    "packed_table",
    "ranges",
    "rows",
    "speed_sentences",
    "speed_table",
    "table",
    "write_discrete",
    "write_noise",
    "write_report",
    "write_stopping",
]
