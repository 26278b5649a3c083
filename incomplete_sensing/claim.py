"""Do the numbers bear the papers' claim out?"""

import sys

from shared_utils import cli


def claim(training: str, diagram: str, out: str) -> None:
    """Hold the claim against a comparison of methods and a phase diagram: claim.json with tables and figures.

    Args:
        training: the folder of a run of train.py whose config compares methods (configs/default.yaml does).
        diagram: the folder that phase_transition.py has written: subspace, Gaussian operators, closed_form.
        out: folder to write.
    """
    from pathlib import Path

    from incomplete_sensing.claim import write_claim

    findings = write_claim(training, diagram, out)
    for finding in findings:
        print(f"{'yes' if finding.holds else 'NO '}  {finding.sentence}")
    print(f"the claim {'holds' if all(finding.holds for finding in findings) else 'does not hold'}")
    print(f"wrote {Path(out) / 'claim.json'}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(claim, argv)


if __name__ == "__main__":
    sys.exit(main())
