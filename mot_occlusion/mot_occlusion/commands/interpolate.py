"""Fill short gaps of tracks by straight lines, once a video has been tracked."""

from pathlib import Path

from shared_utils import cli


def interpolate(results: str, out: str, max_gap: int = 20, overwrite: bool = False) -> None:
    """Fill the gaps of every identity in results that track.py wrote: for films that need not be tracked live.

    Args:
        results: folder of <sequence>.txt files, or one such file.
        out: folder for the files with their gaps filled, under the same names.
        max_gap: gaps of more missing frames stay.
        overwrite: write into a folder that is not empty.
    """
    from mot_occlusion.data.interpolation import fill_gaps
    from mot_occlusion.data.mot_format import read_results, write_rows
    from shared_utils import UserError, files

    if max_gap < 1:
        raise UserError(f"--max_gap {max_gap}: gaps have one missing frame or more")
    given = Path(results)
    paths = [given] if given.is_file() else sorted(given.glob("*.txt"))
    if not paths:
        raise UserError(f"no <sequence>.txt in {results}: give the folder that track.py wrote, or a file of results")
    files.refuse_existing(out, overwrite)
    for path in paths:
        rows, filled = fill_gaps(read_results(path), max_gap)
        write_rows(rows, Path(out) / path.name)
        print(f"{path.name}: {len(rows.frames)} boxes, {filled.sum()} of them filled in")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(interpolate, argv)
