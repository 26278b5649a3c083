"""Judge the papers' claim by the results of evaluate."""

from shared_utils import cli


def claim(results: str, out: str | None = None, overwrite: bool = False) -> None:
    """Judge the claim by a finished comparison of several seeds, and write claim.json.

    Args:
        results: the folder that evaluate has written, with several networks and all methods.
        out: folder to write, with copies of the figures; that of the results where not given.
        overwrite: replace an existing claim.json.
    """
    from pathlib import Path

    from mrf_unroll.claim import judge
    from mrf_unroll.evaluation import read_results
    from shared_utils import files
    from shared_utils.claim import FILE_NAME

    seeds, tables = read_results(results)
    folder = Path(results if out is None else out)
    files.refuse_existing(folder / FILE_NAME, overwrite)
    judged = judge(tables, seeds)
    for figure in judged.figures:
        if folder != Path(results):
            with files.replacing(folder / figure.file) as temporary:
                temporary.write_bytes((Path(results) / figure.file).read_bytes())
    written = judged.write(folder)
    print(judged)
    print(f"wrote {written}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(claim, argv)
