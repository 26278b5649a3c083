"""Compare ICT with a binary network and with its own variants on parametric people, over seeds."""

from shared_utils import cli


def compare(
    out: str = "runs/compare",
    trainings: str | None = None,
    seeds: str = "0,1,2",
    tuning: int = 100,
    rates: str | None = None,
    steps: int = 2000,
    persons: int = 200,
    pictures: int = 20,
    size: int = 32,
    batch_size: int = 32,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train every method: choose the rate on validation people of the tuning seed, report test people of every seed.

    Writes results.json, the tables and the figures; judge them with the claim command. One training is one part of the
    job: what a killed run had finished is not trained again. Under torchrun each process takes its share.

    Args:
        out: folder for the results and the parts.
        trainings: of binary, ict, lambda_0, ict_r_0.3, ict_r_0.9, with commas between; all where not given.
        seeds: with commas between; each draws people, weights and swaps anew.
        tuning: seed whose validation people the rate is chosen by, not one of the seeds.
        rates: that every method tries, with commas between; those of the plan where not given.
        steps: of a training.
        persons: of a training.
        pictures: of each person.
        size: of the pictures in pixels.
        batch_size: pairs of a step.
        resume: continue what is in --out, if it is the same comparison.
        overwrite: replace what is in --out.
    """
    from pathlib import Path

    import cv2
    import torch

    from ict_deepfake.claim import RESULTS, tables
    from ict_deepfake.comparison import TRAININGS, Comparison, Plan, Settings, report
    from ict_deepfake.comparison.plan import RATES
    from shared_utils import distributed, files, lists, work
    from shared_utils.claim import write_tables

    plan = Plan(
        lists.numbers(seeds, int, "seeds"),
        tuning,
        tuple(TRAININGS) if trainings is None else tuple(lists.names(trainings)),
        RATES if rates is None else lists.numbers(rates, float, "rates"),
        persons,
        pictures,
        size,
        batch_size,
        Settings(steps),
    )
    torch.set_num_threads(1)  # CPU seconds are compared: of one thread
    cv2.setNumThreads(1)
    with distributed.process_group(), work.begin(out, plan.description(), resume=resume, overwrite=overwrite) as job:
        comparison = Comparison(plan, job)
        results = comparison.run()
        if distributed.rank() == 0:
            files.write_json(results, Path(out) / RESULTS)
            report.draw(comparison, results, Path(out) / "figures")
            write_tables(tables(results), out)
            print(f"wrote {out}; judge it: {cli.command('claim')} {out}")
        job.complete()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(compare, argv)
