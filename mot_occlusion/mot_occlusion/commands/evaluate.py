"""Evaluate results against ground truth: CLEAR, identity and HOTA, as the official kit does."""

from pathlib import Path
from typing import Literal

from shared_utils import cli


def evaluate(
    data: str,
    results: str,
    metrics: str = "clear,id,hota",
    preset: Literal["auto", "mot15", "mot16", "mot17", "mot20"] = "auto",
    split: Literal["all", "first-half", "second-half"] = "all",
    part: str | None = None,
    convention: Literal["trackeval", "motmetrics", "published"] = "trackeval",
    allow_missing: bool = False,
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Evaluate a folder of results (<sequence>.txt) on MOTChallenge ground truth.

    Args:
        data: ground truth: root of a data set, a folder of sequences, or one sequence.
        results: folder of <sequence>.txt files, or one such file.
        metrics: of clear, id and hota, with commas between.
        preset: the official preprocessing of which benchmark; auto goes by the sequence's name and its ground truth.
        split: evaluate all frames, or the frames of one half of every sequence.
        part: train or test, where --data is the root of a data set; train where not given.
        convention: trackeval (the official kit), motmetrics or published (their table, by their names).
        allow_missing: leave out sequences without results; otherwise they are an error.
        out: folder for scores.csv, scores.json and the HOTA curves; nothing is written where not given.
        overwrite: write into a folder that is not empty.
    """
    from mot_occlusion.evaluation import METRICS, benchmark
    from shared_utils import UserError, files
    from shared_utils.logging import table

    chosen = tuple(name.strip() for name in metrics.split(",") if name.strip())
    if not chosen or set(chosen) - set(METRICS):
        raise UserError(f"metrics are clear, id and hota with commas between, got {metrics}")
    if out is not None:
        files.refuse_existing(out, overwrite)
    pairs, scored = benchmark.find_pairs(data, results, part, allow_missing), {}
    if convention == "trackeval":
        scored = benchmark.score(pairs, chosen, split, preset)
        rows = [benchmark.row(name, values) for name, values in scored.items()]
    else:
        rows = [benchmark.table_like(convention, pair, split, preset) for pair in pairs]
    print(table(rows))
    if out is not None:
        benchmark.write(Path(out), rows, scored)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(evaluate, argv)
