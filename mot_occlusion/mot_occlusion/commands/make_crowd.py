"""Draw a procedural crowd in the layout of MOT17."""

from shared_utils import cli


def make_crowd(
    out: str,
    sequences: int = 4,
    frames: int = 150,
    resume: bool = False,
    overwrite: bool = False,
    seed: int = 0,
    width: int = 320,
    height: int = 192,
    people: tuple[int, int] = (10, 25),
) -> None:
    """Draw sequences of walking people with exact ground truth: img1, gt/gt.txt, seqinfo.ini.

    Args:
        out: the folder of the sequences.
        sequences: how many.
        frames: frames of each, 25 a second.
        resume: draw what an interrupted run has left out.
        overwrite: draw again what is there.
        seed: the same seed draws the same pixels.
        width: pixels, a multiple of 32.
        height: pixels, a multiple of 32.
        people: the least and the most who are about at a time.
    """
    from mot_occlusion.data import synthetic_crowd
    from shared_utils import work

    size = (height, width)
    synthetic_crowd.check(sequences, frames, size, people)
    job = {"version": synthetic_crowd.VERSION, "frames": frames, "seed": seed, "size": size, "people": people}
    with work.begin(out, job | {"sequences": sequences}, resume=resume, overwrite=overwrite) as drawn:
        folders = synthetic_crowd.write_crowd(out, sequences, frames, seed, size, people, replace=not drawn.resumed)
        drawn.complete()
    print(f"wrote {len(folders)} sequences: {folders[0]} ... {folders[-1].name}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(make_crowd, argv)
