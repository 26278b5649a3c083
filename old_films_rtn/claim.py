"""Do the numbers bear the paper's claim out?"""

import sys

from shared_utils import cli


def claim(runs: str = "runs/claim", out: str = "runs/claim", clips: int = 32, frames: int = 7, size: int = 64) -> None:
    """Hold the claim against trained networks: claim.json with tables and a figure.

    Args:
        runs: the folder of the runs recurrent_N and single_N, one of each a seed.
        out: folder to write.
        clips: held-out clips.
        frames: of each of them.
        size: of each of them, pixels.
    """
    from old_films_rtn.claim import write_claim
    from shared_utils import logging

    content = write_claim(runs, out, clips=clips, frames=frames, size=size)
    for table in content["tables"]:
        print(logging.table(table["rows"], table["title"]) + "\n")
    print(f"the claim {'holds' if content['holds'] else 'does not hold'}: {content['verdict']}")
    print(f"wrote {out}/claim.json and {out}/claim.png")


def main(argv: list[str] | None = None) -> int:
    return cli.run(claim, argv)


if __name__ == "__main__":
    sys.exit(main())
