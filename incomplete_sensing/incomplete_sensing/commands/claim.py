"""Compare the papers' claim with what was measured."""

from shared_utils import cli


def claim(training: str, diagram: str, out: str, overwrite: bool = False) -> None:
    """Compare the claim with a comparison of methods and a phase diagram: claim.json with tables and figures.

    Args:
        training: the folder of a run of train whose config compares methods (configs/default.yaml does).
        diagram: the folder that phase_transition has written: subspace, Gaussian operators, closed_form.
        out: folder to write.
        overwrite: replace an earlier claim in it.
    """
    from pathlib import Path

    from incomplete_sensing.claim import write_claim
    from shared_utils import files

    files.refuse_existing(Path(out) / "claim.json", overwrite)
    print(write_claim(training, diagram, out))
    print(f"wrote {Path(out) / 'claim.json'}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(claim, argv)
