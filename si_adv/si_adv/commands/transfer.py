"""Attack surrogates and see which targets the same clouds fool."""

from typing import Any, Literal

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
    options: dict[str, dict[str, Any]] | None = None,
    num_points: int | None = None,
    allow_upsample: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    out: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Transfer matrix: how often clouds made on each surrogate fool each target.

    A rate is over the clouds that the target classifies correctly when clean.

    Args:
        surrogates: models to attack, with commas between (source or name=source).
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
        options: further options by attack, e.g. {advpc: {autoencoder: runs/autoencoder/version_0/autoencoder}}.
        num_points: points of a cloud; what the first surrogate was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        batch_size: clouds kept per file; an interrupted run loses no more than one batch.
        device: auto, cpu, cuda, mps.
        out: folder for the results; a new runs/transfer/version_N where not given.
        resume: continue what is in --out, if it is the same experiment.
        overwrite: replace what is in --out.
    """
    from shared_utils import distributed, lists
    from si_adv import pretrained
    from si_adv.attacks import budgets
    from si_adv.evaluation import clouds, experiment, reports, tables

    experiment.refuse_existing(out, resume, overwrite)
    budget = {"eps": eps, "step_size": step_size, "steps": steps, "confidence": confidence}
    attacks, draws = budgets.makers(lists.names(attack), budget, options or {}), lists.numbers(seeds, int, "seeds")
    with distributed.process_group():
        place = distributed.choose_device(device)
        sources = pretrained.load_several(surrogates, place)
        goals = sources if targets is None else pretrained.load_several(targets, place)
        budgets.check(attacks, sources.values())
        size = num_points or next(iter(sources.values())).num_points
        taken = clouds.load_draws(draws, data, split, size, limit, allow_upsample=allow_upsample)
        made = experiment.Experiment(sources, attacks, taken, batch_size=batch_size, device=place)
        settings = budget | {"options": options, "num_points": size, "data": data, "split": split, "limit": limit}
        with experiment.begin(out, "transfer", made.description(settings), resume=resume, overwrite=overwrite) as store:
            runs = made.run(store)
            if distributed.rank() == 0:
                rows = tables.transfer_table(runs, goals, batch_size, place)
                reports.write_transfer(store.folder, rows)
                print(tables.printed(rows))
                print(f"\nresults: {store.folder}")
            store.complete()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(transfer, argv)
