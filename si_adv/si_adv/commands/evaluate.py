"""Measure the accuracy of victims."""

from typing import Literal

from shared_utils import cli


def evaluate(
    ckpt: str | None = None,
    data: str | None = None,
    split: Literal["train", "val", "test"] = "test",
    limit: int | None = None,
    num_points: int | None = None,
    allow_upsample: bool = False,
    batch_size: int = 32,
    device: str = "auto",
) -> None:
    """Accuracy of victims on a data set: over clouds, and the mean over classes.

    Args:
        ckpt: victim, or victims with commas between (source or name=source); the bundled one where not given.
        data: data set in any of the layouts of the README; the embedded procedural shapes where not given.
        split: which part of the data set.
        limit: at most this many clouds, the classes in turn; null for all.
        num_points: points of a cloud; what the victim was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        batch_size: clouds passed at once.
        device: auto, cpu, cuda, mps.
    """
    from shared_utils import distributed
    from si_adv import pretrained
    from si_adv.evaluation import clouds, tables

    place = distributed.choose_device(device)
    rows = []
    for name, victim in pretrained.load_several(ckpt, place).items():
        size = num_points or victim.num_points
        taken = clouds.load_clouds(data, split, size, limit, allow_upsample=allow_upsample)
        rows.append(tables.accuracy_row(name, victim, taken, batch_size))
    print(tables.printed(rows))


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(evaluate, argv)
