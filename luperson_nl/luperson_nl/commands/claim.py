"""Judge the paper's claim by what compare has measured."""

from shared_utils import cli


def claim(compared: str, out: str | None = None, overwrite: bool = False) -> None:
    """Judge a finished run of compare: claim.json with tables and figures.

    Args:
        compared: the folder that compare has written.
        out: folder to write; that of the comparison where not given.
        overwrite: replace an earlier claim in it.
    """
    from luperson_nl.claim import write_claim
    from shared_utils.claim import conclude

    conclude(write_claim, compared, out, overwrite)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(claim, argv)
