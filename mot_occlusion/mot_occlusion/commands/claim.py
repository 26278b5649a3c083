"""Compare the paper's claim with the results of ablate, and write claim.json."""

from shared_utils import cli


def claim(results: str, out: str | None = None, overwrite: bool = False) -> None:
    """Judge the paper's claim by the results of ablate.py.

    Args:
        results: the folder that ablate.py wrote.
        out: the folder for claim.json and its figures; that of the results where not given.
        overwrite: replace claim.json where it exists.
    """
    from pathlib import Path

    from mot_occlusion.claim import read_results, report
    from shared_utils import files
    from shared_utils.claim import FILE_NAME

    folder = Path(out or results)
    files.refuse_existing(folder / FILE_NAME, overwrite)
    judged = report(read_results(results), folder)
    print(f"{judged}\n\nwrote {judged.write(folder)}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(claim, argv)
