"""Measure what unsupervised re-ID and occlusion estimation bring, on held-out sequences of the procedural crowd."""

from shared_utils import cli


def ablate(
    out: str,
    ckpt: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    sequences: int = 8,
    tuning: int = 8,
    frames: int = 150,
    crowd_seed: int = 100,
    device: str = "auto",
) -> None:
    """Track held-out crowds by IoU, with embeddings, and with occlusion centres, and write tables and figures.

    Args:
        out: the folder to write (ablation.json, tables, ablation.png, windows.png, and the parts of the work).
        ckpt: networks trained alike but for the seed, separated by commas, each as of track.py; the bundled one where
            not given.
        resume: continue an interrupted run of the same arguments.
        overwrite: begin again.
        sequences: how many sequences to draw for the numbers.
        tuning: how many more, on which the recovery window and the threshold are chosen.
        frames: frames of each.
        crowd_seed: of the sequences; training draws others.
        device: auto, cpu, cuda, ...
    """
    from mot_occlusion import claim
    from mot_occlusion.evaluation.ablation import run_ablation

    sources = ckpt.split(",") if ckpt else [None]
    results = run_ablation(out, sources, sequences, tuning, frames, crowd_seed, device, resume, overwrite)
    if results:
        judged = claim.report(results, out)
        print(f"{judged}\n\nresults: {out}; {cli.command('claim')} {out} writes claim.json")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(ablate, argv)
