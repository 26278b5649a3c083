"""Compare the paper's claim with what trained networks do."""

from shared_utils import cli


def claim(
    runs: str = "runs/claim",
    out: str = "runs/claim",
    clips: int = 32,
    frames: int = 7,
    size: int = 64,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Judge the claim by trained networks: claim.json with tables and a figure.

    Args:
        runs: the folder of the runs recurrent_N and single_N, one of each a seed.
        out: folder to write; it may be that of the runs.
        clips: held-out clips.
        frames: of each of them.
        size: of each of them, pixels.
        resume: continue an interrupted evaluation into the same folder.
        overwrite: replace what is there.
    """
    from old_films_rtn.claim import judge_runs
    from shared_utils import distributed

    with distributed.process_group():
        judged = judge_runs(runs, out, (clips, frames, size), resume=resume, overwrite=overwrite)
    if judged is not None:
        print(judged)
        print(f"wrote {out}/claim.json and {out}/claim.png")


def main(argv: list[str] | None = None) -> int:
    return cli.run(claim, argv)
