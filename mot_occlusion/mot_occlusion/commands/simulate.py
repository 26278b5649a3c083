"""Measure what re-ID and occlusion recovery bring on real trajectories, with a simulated detector and no images."""

from shared_utils import cli


def simulate(
    data: str | None = None,
    sequences: str | None = None,
    seeds: str = "0,1,2",
    windows: str = "1,5,10,30",
    track_buffer: int = 30,
    out: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Simulate a detector on ground truth with visibility, and compare trackers and recovery windows on it.

    Args:
        data: root of a data set, a folder of sequences, or one sequence; crowds drawn into --out where not given.
        sequences: the names to take, with commas between; all where not given.
        seeds: of the simulated detector, with commas between.
        windows: recovery windows in frames, with commas between.
        track_buffer: frames (at 30 per second) for which a lost track is kept, in all of them.
        out: folder for tables and figures; a new runs/simulate/version_N where not given.
        resume: continue an interrupted run of the same arguments in --out.
        overwrite: begin again.
    """
    from mot_occlusion.evaluation import simulated_trackers
    from shared_utils import UserError, lists, logging

    draws, frames = lists.numbers(seeds, int, "seeds"), lists.numbers(windows, int, "windows")
    if min(draws) < 0 or min(frames) < 1 or track_buffer < 0:
        raise UserError(
            f"seeds and the track buffer are 0 or more, windows 1 or more, got {seeds}, {track_buffer} and {windows}"
        )
    folder, rows = simulated_trackers.compare(data, sequences, draws, frames, track_buffer, out, resume, overwrite)
    for name in dict.fromkeys(row["sequence"] for row in rows):
        of_sequence = [row for row in rows if row["sequence"] == name]
        title = f"{name}, {len(draws)} seeds (mean ± standard deviation)"
        print(logging.table(simulated_trackers.summary(of_sequence), title), end="\n\n")
    if rows:
        print(f"results: {folder}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(simulate, argv)
