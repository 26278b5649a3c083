"""Methods side by side on the same measurements: tables and figures."""

from mrf_unroll.evaluation.compare import Comparison, compare, read_results
from mrf_unroll.evaluation.runs import Memory, Parts, Record, run_study
from mrf_unroll.evaluation.study import FLOOR, Study, available_methods, describe, open_study, real_slices, title
from mrf_unroll.evaluation.sweep import parse_sweep, sweep
from mrf_unroll.evaluation.tables import average, summary

__all__ = [
    "FLOOR",
    "Comparison",
    "Memory",
    "Parts",
    "Record",
    "Study",
    "available_methods",
    "average",
    "compare",
    "describe",
    "open_study",
    "parse_sweep",
    "read_results",
    "real_slices",
    "run_study",
    "summary",
    "sweep",
    "title",
]
