"""What re-ID and occlusion recovery bring on real trajectories, with a simulated detector and no images."""

import sys

from shared_utils import cli


def simulate(
    gt: str | None = None,
    sequences: str | None = None,
    seeds: str = "0,1,2",
    windows: str = "1,5,10,30",
    track_buffer: int = 30,
    out: str | None = None,
    resume: bool = False,
) -> None:
    """Simulate a detector on ground truth with visibility, and compare trackers and recovery windows on it.

    Args:
        gt: root of a data set, a folder of sequences, or one sequence; crowds drawn into --out where not given.
        sequences: the names to take, with commas between; all where not given.
        seeds: of the simulated detector, with commas between.
        windows: recovery windows in frames, with commas between.
        track_buffer: frames (at 30 per second) for which a lost track is kept, in all of them.
        out: folder for tables and figures; a new runs/simulate/version_N where not given.
        resume: go on with what is in --out.
    """
    from pathlib import Path

    from mot_occlusion import figures, simulation
    from mot_occlusion.evaluation import preset_of
    from mot_occlusion.io import mot_format
    from shared_utils import UserError, checkpoint, distributed, logging

    try:
        draws, frames = (tuple(int(part) for part in text.split(",")) for text in (seeds, windows))
    except ValueError:
        raise UserError(f"seeds and windows are whole numbers with commas between, got {seeds} and {windows}") from None
    with distributed.process_group():
        made = str(out or (logging.run_folder("simulate") if distributed.rank() == 0 else ""))
        folder = Path(distributed.broadcast(made))
        if gt is None:
            if distributed.rank() == 0:
                from mot_occlusion.data.synthetic_crowd import write_crowd

                write_crowd(folder / "crowd", num_sequences=2)
            distributed.barrier()
            gt = str(folder / "crowd")
        chosen = mot_format.find_sequences(gt)
        if sequences is not None:
            names = [name.strip() for name in sequences.split(",")]
            unknown = sorted(set(names) - {path.name for path in chosen})
            if unknown:
                raise UserError(
                    f"no sequence {', '.join(unknown)} in {gt}: there are {', '.join(p.name for p in chosen)}"
                )
            chosen = [path for path in chosen if path.name in names]
        items = [(path, seed) for path in chosen for seed in draws]

        def part(path: Path, seed: int) -> Path:
            return folder / "parts" / f"{path.name}-{seed}-{'-'.join(map(str, frames))}-{track_buffer}.json"

        for path, seed in logging.progress(distributed.share(items), "sequences"):
            if resume and part(path, seed).is_file():
                continue
            info, rows = mot_format.read_seqinfo(path), mot_format.read_gt(path / "gt" / "gt.txt")
            if not (rows.visibility < 1).any():
                raise UserError(
                    f"{path / 'gt' / 'gt.txt'} has no visibility (column 9), by which people are seen: use MOT16/17/20"
                )
            size, preset = (info.height, info.width), preset_of(path.name, rows)
            done = simulation.run_sequence(
                rows, info.length, size, info.frame_rate, seed, frames, preset, track_buffer=track_buffer
            )
            checkpoint.write_json([{"sequence": path.name} | row for row in done], part(path, seed))
        distributed.barrier()
        if distributed.rank() > 0:
            return
        import json

        rows = [row for item in items for row in json.loads(part(*item).read_text())]
        for path in chosen:
            of_sequence = [row for row in rows if row["sequence"] == path.name]
            title = f"{path.name}, {len(draws)} seeds (mean ± standard deviation)"
            print(logging.table(simulation.summary(of_sequence), title), end="\n\n")
        checkpoint.write_json(rows, folder / "simulation.json")
        swept = [row for row in rows if row["window"] is not None]
        figures.window_sweep(
            folder / "windows.png", swept, "change against no recovery, simulated detections (band: range of the seeds)"
        )
        print(f"results: {folder}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(simulate, argv)


if __name__ == "__main__":
    sys.exit(main())
