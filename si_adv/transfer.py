"""Attack surrogates and see which targets the same clouds fool."""

import sys
from typing import Literal

from shared_utils import cli


def transfer(
    surrogates: str,
    targets: str | None = None,
    attack: str = "si_ifgm",
    data: str | None = None,
    split: Literal["train", "val", "test"] = "test",
    limit: int | None = 50,
    seeds: str = "0",
    eps: float = 0.16,
    step_size: float = 0.007,
    steps: int = 50,
    confidence: float = 0.0,
    num_points: int | None = None,
    allow_upsample: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    out: str | None = None,
    resume: bool = False,
) -> None:
    """Transfer matrix: how often clouds made on each surrogate fool each target.

    A rate is over the clouds that the target classifies correctly when clean.

    Args:
        surrogates: models to attack, with commas between (path or name=path).
        targets: models to fool, likewise; the surrogates where not given.
        attack: names with commas between.
        data: data set in any of the layouts of the README; the embedded procedural shapes where not given.
        split: which part of the data set.
        limit: at most this many clouds, the classes in turn; null for all.
        seeds: with commas between; each draws its clouds and its random numbers.
        eps: half-width of the box around the clean cloud, per coordinate.
        step_size: a step has the L2 length step_size * sqrt(3 * 1024) over the whole cloud.
        steps: the largest number of steps.
        confidence: by how much the margin must be won on the surrogate; more of it transfers better.
        num_points: points of a cloud; what the first surrogate was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        batch_size: clouds kept per file; an interrupted run loses no more than one batch.
        device: auto, cpu, cuda, mps.
        out: folder for the results; a new runs/transfer/version_N where not given.
        resume: go on with what is in --out.
    """
    import numpy as np

    from shared_utils import distributed
    from si_adv import figures, jobs, report

    with distributed.process_group():
        place = distributed.choose_device(device)
        sources = jobs.open_victims(surrogates, place)
        goals = sources if targets is None else jobs.open_victims(targets, place)
        shared = {"eps": eps, "step_size": step_size, "steps": steps, "confidence": confidence}
        attacks = {name: jobs.attack_builder(name, shared, {}) for name in jobs.split_names(attack)}
        size = num_points or next(iter(sources.values())).num_points
        folder = jobs.result_folder(out, "transfer")
        _, arrays = jobs.run_attacks(
            folder,
            sources,
            attacks,
            jobs.split_seeds(seeds),
            jobs.clouds_of(data, split, size, limit, allow_upsample),
            job={"attack": shared, "data": data, "split": split, "limit": limit, "num_points": size},
            resume=resume,
            batch_size=batch_size,
            device=place,
        )
        if distributed.rank() > 0:
            return
        rows = jobs.transfer_table(arrays, goals, batch_size, place)
        report.write_tables(folder, "table", rows)
        means = {
            (row["attack"], row["surrogate"], row["target"]): row["transfer"]
            for row in report.over_seeds(rows, ["attack", "surrogate", "target"])
        }
        for name in attacks:
            values = np.array([[means[name, source, goal] for goal in goals] for source in sources])
            title = f"{name}: share of correct clouds fooled"
            figures.matrix(folder / f"matrix_{name}.png", values, list(sources), list(goals), title)
        print(report.printed(rows, ("attack", "seed", "surrogate", "target", "transfer", "low", "high", "clouds")))
        print(f"\nresults: {folder}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(transfer, argv)


if __name__ == "__main__":
    sys.exit(main())
