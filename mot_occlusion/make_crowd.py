"""Draw a procedural crowd in the layout of MOT17."""

import sys

from shared_utils import cli


def make_crowd(
    out: str,
    sequences: int = 4,
    frames: int = 150,
    seed: int = 0,
    width: int = 320,
    height: int = 192,
    people: tuple[int, int] = (10, 25),
) -> None:
    """Draw sequences of walking people with exact ground truth: img1, gt/gt.txt, seqinfo.ini.

    Args:
        out: the folder of the sequences; those already there stay as they are.
        sequences: how many.
        frames: frames of each, 25 a second.
        seed: the same seed draws the same pixels.
        width: pixels, a multiple of 32.
        height: pixels, a multiple of 32.
        people: the least and the most who are about at a time.
    """
    from mot_occlusion.data.synthetic_crowd import write_crowd

    folders = write_crowd(out, sequences, frames, seed, (height, width), people)
    print(f"wrote {len(folders)} sequences: {folders[0]} ... {folders[-1].name}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(make_crowd, argv)


if __name__ == "__main__":
    sys.exit(main())
