"""Compare PNL with its baselines on the procedural street, each tuned with the same number of tries."""

from shared_utils import cli


def compare(
    out: str = "runs/compare",
    rows: str | None = None,
    seeds: str = "0,1,2",
    tuning: int = 100,
    epochs: int = 24,
    short: int = 10,
    persons: int = 120,
    held: int = 60,
    height: int = 64,
    finetuning_epochs: int = 20,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train every method: choose its settings on validation persons of the tuning seed, report test persons of every seed.

    Writes results.json, the tables and the figures; judge them with the claim command. One training is one part of the
    job: what a killed run had finished is not trained again. Under torchrun each process takes its share.

    Args:
        out: folder for the results and the parts.
        rows: of the table, with commas between; all where not given.
        seeds: with commas between; each draws streets, weights and order anew.
        tuning: seed of the street on which settings are chosen, not one of the seeds.
        epochs: of a training.
        short: epochs of the short rows.
        persons: of a training split.
        held: persons of a validation or test split.
        height: of the crops in pixels; they are half as wide.
        finetuning_epochs: of ten steps; 0: nothing is fine-tuned.
        resume: continue what is in --out, if it is the same comparison.
        overwrite: replace what is in --out.
    """
    from pathlib import Path

    import torch

    from luperson_nl import claim
    from luperson_nl.comparison import ROWS, Comparison, Plan, report
    from shared_utils import distributed, files, lists, work
    from shared_utils.claim import write_tables

    names = tuple(ROWS) if rows is None else tuple(lists.names(rows))
    plan = Plan(
        names,
        lists.numbers(seeds, int, "seeds"),
        tuning,
        epochs,
        short,
        persons,
        held,
        (height, height // 2),
        finetuning_epochs,
    )
    torch.set_num_threads(1)  # CPU seconds are compared: of one thread
    with distributed.process_group(), work.begin(out, plan.description(), resume=resume, overwrite=overwrite) as job:
        comparison = Comparison(plan, job)
        results = comparison.run()
        if distributed.rank() == 0:
            files.write_json(results, Path(out) / claim.RESULTS)
            report.draw(comparison, results, Path(out) / "figures")
            write_tables(claim.tables(results), out)
            print(f"wrote {out}; judge it: {cli.command('claim')} {out}")
        job.complete()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(compare, argv)
