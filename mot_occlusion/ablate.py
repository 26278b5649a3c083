"""What unsupervised re-ID and occlusion estimation bring, on held-out sequences of the procedural crowd."""

import sys

from shared_utils import cli


def ablate(
    out: str,
    checkpoint: str | None = None,
    sequences: int = 4,
    tuning: int = 2,
    frames: int = 150,
    crowd_seed: int = 100,
    device: str = "auto",
) -> None:
    """Track held-out crowds by IoU, with embeddings, and with occlusion centres, and write tables and figures.

    Args:
        out: the folder to write (claim.json, ablation.png, windows.png, and parts, which a second run does not redo).
        checkpoint: networks trained alike but for the seed, separated by commas; the one that travels where not given.
        sequences: how many sequences to draw for the numbers.
        tuning: how many more, on which the recovery window and the refinement are chosen.
        frames: frames of each.
        crowd_seed: of the sequences; training draws others.
        device: auto, cpu, cuda, ...
    """
    from mot_occlusion import ablation
    from shared_utils import logging

    checkpoints = checkpoint.split(",") if checkpoint else [None]
    claim = ablation.ablate(out, checkpoints, sequences, tuning, frames, crowd_seed, device)
    if claim:
        for table in claim["tables"]:
            print(logging.table(table["rows"], table["title"]), end="\n\n")
        print(f"{'shown' if claim['holds'] else 'not shown'}: {claim['verdict']}\nwrote {out}/claim.json")


def main(argv: list[str] | None = None) -> int:
    return cli.run(ablate, argv)


if __name__ == "__main__":
    sys.exit(main())
