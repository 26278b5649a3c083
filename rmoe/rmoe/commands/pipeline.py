"""Compare the paper's training pipelines on the procedural default: quality, cost, figures."""

from shared_utils import cli


def pipeline(
    out: str = "runs/pipeline",
    which: str = "scratch,dense,rmoe_d,rmoe_i,moe,upcycled,wide",
    worlds: str = "rules,one_rule,unshared",
    seeds: str = "0,1,2",
    tuning: str = "0",
    rates: str = "8e-3,1.6e-2,3.2e-2,6.4e-2,1.28e-1",
    steps: str = "250,80",
    upstream_steps: int = 400,
    intermediate_steps: int = 100,
    upstream_images: int = 4096,
    scenes: int = 512,
    held: int = 256,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train every pipeline: choose the rate of each stage on validation draws, report test draws of every seed.

    One training is one part of the job: what a killed run had finished is not trained again. Under torchrun each process
    takes its share of the trainings.

    Args:
        out: folder for results.json, the tables, the figures and the parts.
        which: pipelines with commas between.
        worlds: data with commas between: rules (a rule for each domain), one_rule (the control), unshared (other rules
            downstream than upstream).
        seeds: with commas between; each draws data, weights and order anew.
        tuning: the seeds on whose validation draws the rates are chosen.
        rates: the grid of learning rates, of every stage of every pipeline.
        steps: budgets of downstream steps.
        upstream_steps: of pre-training.
        intermediate_steps: of the short stage of RMoE-I.
        upstream_images: for pre-training.
        scenes: for the downstream stage.
        held: images of a validation or test draw.
        resume: continue what is in --out, if it is the same comparison.
        overwrite: replace what is in --out.
    """
    from pathlib import Path

    import torch

    from rmoe import pipeline_report
    from rmoe.pipelines import Comparison, Plan
    from shared_utils import distributed, lists, work

    plan = Plan(
        tuple(lists.names(which)),
        tuple(lists.names(worlds)),
        lists.numbers(seeds, int, "seeds"),
        lists.numbers(tuning, int, "tuning"),
        lists.numbers(rates, float, "rates"),
        upstream_steps,
        intermediate_steps,
        lists.numbers(steps, int, "steps"),
        upstream_images,
        scenes,
        held,
    )
    torch.set_num_threads(1)  # CPU seconds are compared: of one thread
    with distributed.process_group(), work.begin(out, plan.description(), resume=resume, overwrite=overwrite) as job:
        comparison = Comparison(plan, job)
        results = comparison.run()
        if distributed.rank() == 0:
            pipeline_report.write(comparison, results, Path(out))
            print(pipeline_report.printed(results))
            print(f"\nwrote {out}; judge it: {cli.command('claim')} --pipeline {out}")
        job.complete()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(pipeline, argv)
