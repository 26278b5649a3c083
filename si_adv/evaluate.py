"""Accuracy of a victim."""

import sys
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
        ckpt: victim, or victims with commas between (path or name=path); the one that travels with the package where
            not given.
        data: data set in any of the layouts of the README; the embedded procedural shapes where not given.
        split: which part of the data set.
        limit: at most this many clouds, the classes in turn; null for all.
        num_points: points of a cloud; what the victim was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        batch_size: clouds passed at once.
        device: auto, cpu, cuda, mps.
    """
    from shared_utils import distributed
    from si_adv import jobs, report
    from si_adv.comparison import load_clouds, predictions
    from si_adv.metrics import wilson_interval

    place = distributed.choose_device(device)
    rows = []
    for name, victim in jobs.open_victims(ckpt, place).items():
        clouds = load_clouds(data, split, num_points or victim.num_points, limit, allow_upsample=allow_upsample)
        jobs.check_labels(clouds, victim, name)
        correct = predictions(victim, jobs.victim_input(clouds, victim), batch_size, place) == clouds.labels
        classes = [correct[clouds.labels == label].float().mean() for label in clouds.labels.unique()]
        low, high = wilson_interval(int(correct.sum()), len(correct))
        rows.append(
            {
                "victim": name,
                "clouds": len(correct),
                "accuracy": float(correct.float().mean()),
                "low": low,
                "high": high,
                "class accuracy": float(sum(classes) / len(classes)),
            }
        )
    print(report.printed(rows, list(rows[0])))


def main(argv: list[str] | None = None) -> int:
    return cli.run(evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
