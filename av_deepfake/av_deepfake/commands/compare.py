"""Compare pre-training with training from scratch, controls and simple statistics on procedural mouths, over seeds."""

from shared_utils import cli


def compare(
    out: str = "runs/compare",
    seeds: str = "1,2,3",
    side_seeds: str | None = None,
    tuning: int = 100,
    rates: str | None = None,
    pretraining_steps: int = 200,
    steps: int = 100,
    speakers: int = 100,
    per_speaker: int = 5,
    train: int = 90,
    test: int = 60,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Pre-train, then train detectors with each manipulation left out: rates chosen on the tuning seed, tested on every seed.

    Writes results.json, the tables and the figures; judge them with the claim command. One training is one part of the
    job: what a killed run had finished is not trained again. Under torchrun each process takes its share.

    Args:
        out: folder for the results and the parts.
        seeds: with commas between; each draws mouths, weights and order anew; the recipe was chosen on 0.
        side_seeds: those of them for which the dear rows (ten times the steps, noisy and shuffled pre-training) are run;
            all where not given.
        tuning: seed on whose validation clips the rates are chosen, not one of the seeds.
        rates: that every way to train tries, with commas between; those of the plan where not given.
        pretraining_steps: of a pre-training.
        steps: of a detector's training.
        speakers: of a pre-training.
        per_speaker: recordings of each.
        train: clips of a class that detectors are trained on.
        test: clips of a class that they are tested on.
        resume: continue what is in --out, if it is the same comparison.
        overwrite: replace what is in --out.
    """
    from pathlib import Path
    from typing import Any

    import torch

    from av_deepfake.claim import RESULTS, tables
    from av_deepfake.comparison import Comparison, Plan, Pretraining, Tuning, report
    from av_deepfake.comparison.plan import RATES
    from shared_utils import distributed, files, lists, work
    from shared_utils.claim import write_tables

    plan = Plan(
        lists.numbers(seeds, int, "seeds"),
        lists.numbers(seeds if side_seeds is None else side_seeds, int, "side_seeds"),
        tuning,
        RATES if rates is None else lists.numbers(rates, float, "rates"),
        speakers,
        per_speaker,
        train,
        test,
        pretraining=Pretraining(pretraining_steps),
        tuning_of=Tuning(steps),
    )

    def write(results: dict[str, Any]) -> None:
        if distributed.rank() == 0:
            files.write_json(results, Path(out) / RESULTS)
            write_tables(tables(results), out)

    torch.set_num_threads(1)  # trainings are small, and CPU seconds are reported
    with distributed.process_group(), work.begin(out, plan.description(), resume=resume, overwrite=overwrite) as job:
        comparison = Comparison(plan, job, write)
        results = comparison.run()
        if distributed.rank() == 0:
            report.draw(comparison, results, Path(out) / "figures")
            print(f"wrote {out}; judge it: {cli.command('claim')} {out}")
        job.complete()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(compare, argv)
