"""Attack with queries alone, every one of them counted."""

from typing import Any, Literal

from shared_utils import cli

COLUMNS = (
    "attack",
    "seed",
    "asr",
    "asr_all",
    "asr_normalised",
    "queries",
    "queries_median",
    "failures",
    "l2",
    "chamfer",
    "surface",
)


def query(
    attack: str = "si_query,simba,simba_pp",
    ckpt: str | None = None,
    surrogate: str | None = None,
    data: str | None = None,
    split: Literal["train", "val", "test"] = "test",
    limit: int | None = 50,
    seeds: str = "0",
    step: float = 0.32,
    max_queries: int | None = None,
    lookahead: int = 1,
    options: dict[str, dict[str, Any]] | None = None,
    num_points: int | None = None,
    allow_upsample: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    save: str = "npz",
    out: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Query attacks: success over queries, a table and figures.

    Args:
        attack: si_query, simba, simba_pp, hop_skip_jump, si_hop_skip_jump, with commas between.
        ckpt: victim that is attacked, or victims with commas between (source or name=source); the bundled one where not
            given.
        surrogate: white-box model whose gradients order the moves; the victim where not given.
        data: data set in any of the layouts of the README; the embedded procedural shapes where not given.
        split: which part of the data set.
        limit: at most this many clouds, the classes in turn; null for all.
        seeds: with commas between; each draws its clouds and its random numbers.
        step: length of a move.
        max_queries: budget of a cloud, the first query included; null for that of the attack's list.
        lookahead: trials of a cloud evaluated at once; all of them count as queries.
        options: further options by attack, e.g. {simba_pp: {published_decoding: true}}.
        num_points: points of a cloud; what the victim was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        batch_size: clouds kept per file; an interrupted run loses no more than one batch.
        device: auto, cpu, cuda, mps.
        save: formats of the attacked clouds with commas between: npz, ply, txt.
        out: folder for the results; a new runs/query/version_N where not given.
        resume: continue what is in --out, if it is the same experiment.
        overwrite: replace what is in --out.
    """
    from shared_utils import checkpoint, distributed, lists
    from si_adv import pretrained
    from si_adv.attacks import budgets
    from si_adv.evaluation import clouds, experiment, reports, tables

    experiment.refuse_existing(out, resume, overwrite)
    draws, formats = lists.numbers(seeds, int, "seeds"), reports.chosen_formats(save)
    with distributed.process_group():
        place = distributed.choose_device(device)
        victims = pretrained.load_several(ckpt, place)
        helper = None if surrogate is None else pretrained.load_one(surrogate, place)
        budget = {"step": step, "max_queries": max_queries, "lookahead": lookahead}
        attacks = budgets.makers(lists.names(attack), budget | {"surrogate": helper}, options or {})
        budgets.check(attacks, victims.values())
        size = num_points or next(iter(victims.values())).num_points
        taken = clouds.load_draws(draws, data, split, size, limit, allow_upsample=allow_upsample)
        made = experiment.Experiment(victims, attacks, taken, batch_size=batch_size, device=place)
        settings = budget | {"options": options, "num_points": size, "data": data, "split": split, "limit": limit}
        settings["surrogate"] = helper and checkpoint.weights_digest(helper)
        with experiment.begin(out, "query", made.description(settings), resume=resume, overwrite=overwrite) as store:
            runs = made.run(store)
            if distributed.rank() == 0:
                rows = tables.attack_table(runs)
                reports.write_queries(store.folder, rows, runs, next(iter(victims.values())).class_names, formats)
                print(tables.printed(rows, COLUMNS))
                print(f"\nresults: {store.folder}")
            store.complete()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(query, argv)
