"""Judge the paper's claim from the results of `attack --compare`."""

from shared_utils import cli


def claim(results: str, out: str | None = None, overwrite: bool = False) -> None:
    """Compare the paper's claim with what `attack --compare` measured; writes claim.json.

    Args:
        results: the folder that attack.py wrote its results to.
        out: folder for claim.json and its figures; that of the results where not given.
        overwrite: replace claim.json in --out.
    """
    from pathlib import Path

    from shared_utils import files
    from si_adv.claim import copy_figures, judge, read_results

    folder = Path(out or results)
    files.refuse_existing(folder / "claim.json", overwrite)
    rows, clouds, figures = read_results(results)
    judged = judge(rows, clouds, figures)
    copy_figures(results, folder, figures)
    path = judged.write(folder)
    print(f"{judged}\n\nwrote {path}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(claim, argv)
