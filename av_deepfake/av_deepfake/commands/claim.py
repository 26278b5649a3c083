"""Judge what compare has measured by the paper's claim."""

from shared_utils import cli


def claim(compared: str, out: str | None = None, overwrite: bool = False) -> None:
    """Print the claim, its tables and the verdict, and write claim.json.

    Args:
        compared: folder of the compare command.
        out: folder for claim.json and its figures; that of the comparison where not given.
        overwrite: replace an earlier claim in it.
    """
    from av_deepfake.claim import write_claim
    from shared_utils.claim import conclude

    conclude(write_claim, compared, out, overwrite)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(claim, argv)
