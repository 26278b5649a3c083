"""Compare the paper's claim with what the pipelines measured."""

from shared_utils import cli


def claim(pipeline: str, out: str | None = None, overwrite: bool = False) -> None:
    """Judge a finished run of pipeline: claim.json with tables and figures.

    Args:
        pipeline: the folder that pipeline has written.
        out: folder to write; that of the pipelines where not given.
        overwrite: replace an earlier claim in it.
    """
    from rmoe.claim import write_claim
    from shared_utils.claim import conclude

    conclude(write_claim, pipeline, out, overwrite)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(claim, argv)
