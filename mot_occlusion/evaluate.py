"""Evaluate results against ground truth: CLEAR, identity and HOTA, as the official kit does."""

import sys
from typing import Literal

from shared_utils import cli


def evaluate(
    gt: str,
    results: str,
    metrics: str = "clear,id,hota",
    preset: Literal["auto", "mot15", "mot16", "mot17", "mot20"] = "auto",
    split: Literal["all", "first-half", "second-half"] = "all",
    part: str | None = None,
    convention: Literal["trackeval", "motmetrics", "published"] = "trackeval",
    allow_missing: bool = False,
    out: str | None = None,
) -> None:
    """Evaluate a folder of results (<sequence>.txt) on MOTChallenge ground truth.

    Args:
        gt: root of a data set, a folder of sequences, or one sequence.
        results: folder of <sequence>.txt files, or one such file.
        metrics: of clear, id and hota, with commas between.
        preset: the official preprocessing of which benchmark; auto goes by the sequence's name and its ground truth.
        split: evaluate all frames, or the frames of one half of every sequence.
        part: train or test, where gt is the root of a data set; train where not given.
        convention: trackeval (the official kit), motmetrics or published (their table, by their names).
        allow_missing: leave out sequences without results; otherwise they are an error.
        out: folder for scores.csv, scores.json and the HOTA curves; nothing is written where not given.
    """
    from mot_occlusion import scoring
    from shared_utils import UserError
    from shared_utils.logging import table

    chosen = tuple(name.strip() for name in metrics.split(",") if name.strip())
    if not chosen or set(chosen) - {"clear", "id", "hota"}:
        raise UserError(f"metrics are clear, id and hota with commas between, got {metrics}")
    sequences = scoring.find_pairs(gt, results, part, allow_missing)
    if convention != "trackeval":
        rows = [scoring.table_like(convention, one, split, preset) for one in sequences]
        print(table(rows))
        scoring.write(out, rows, {})
        return
    scored = scoring.score(sequences, chosen, split, preset)
    rows = [scoring.row(name, values) for name, values in scored.items()]
    print(table(rows))
    scoring.write(out, rows, scored)


def main(argv: list[str] | None = None) -> int:
    return cli.run(evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
