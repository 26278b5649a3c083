"""Black-box attacks that ask the target for its scores, with every query counted."""

import sys
from typing import Any, Literal

from shared_utils import cli


def query(
    attack: str = "si_query,simba,simba_pp",
    surrogate: str | None = None,
    target: str | None = None,
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
) -> None:
    """Query attacks: success over queries, a table and figures.

    Args:
        attack: si_query, simba, simba_pp, with commas between.
        surrogate: white-box model (path or name=path) whose gradients order the moves; the target where not given.
        target: model that is attacked (path or name=path); the one that travels with the package where not given.
        data: data set in any of the layouts of the README; the embedded procedural shapes where not given.
        split: which part of the data set.
        limit: at most this many clouds, the classes in turn; null for all.
        seeds: with commas between; each draws its clouds and its random numbers.
        step: length of a move.
        max_queries: budget of a cloud, the first query included; null for that of the attack's list.
        lookahead: trials of a cloud evaluated at once; all of them count as queries.
        options: further options by attack, e.g. {simba_pp: {published_decoding: true}}.
        num_points: points of a cloud; what the target was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        batch_size: clouds kept per file; an interrupted run loses no more than one batch.
        device: auto, cpu, cuda, mps.
        save: formats of the attacked clouds with commas between: npz, ply, txt.
        out: folder for the results; a new runs/query/version_N where not given.
        resume: go on with what is in --out.
    """
    from shared_utils import distributed
    from si_adv import figures, jobs, report

    with distributed.process_group():
        place = distributed.choose_device(device)
        targets = jobs.open_victims(target, place)
        helper = None if surrogate is None else next(iter(jobs.open_victims(surrogate, place).values()))
        shared = {"step": step, "max_queries": max_queries, "lookahead": lookahead, "surrogate": helper}
        own = options or {}
        attacks = {name: jobs.attack_builder(name, shared, own.get(name, {})) for name in jobs.split_names(attack)}
        for make in attacks.values():
            make(next(iter(targets.values())), 0)
        size = num_points or next(iter(targets.values())).num_points
        folder = jobs.result_folder(out, "query")
        job = {"step": step, "max_queries": max_queries, "lookahead": lookahead, "options": own, "num_points": size}
        rows, arrays = jobs.run_attacks(
            folder,
            targets,
            attacks,
            jobs.split_seeds(seeds),
            jobs.clouds_of(data, split, size, limit, allow_upsample),
            job=job | {"data": data, "split": split, "limit": limit, "surrogate": helper and jobs.digest(helper)},
            resume=resume,
            batch_size=batch_size,
            device=place,
        )
        if distributed.rank() > 0:
            return
        report.write_tables(folder, "table", rows)
        for (victim, label, seed), values in arrays.items():
            jobs.write_clouds(folder / "clouds" / f"{victim}-{label}-{seed}", values, jobs.split_names(save))
        spent = jobs.queries_by_attack(arrays)
        figures.curves(folder / "success_over_queries.png", jobs.query_lines(arrays), "queries", log=True)
        figures.histogram(folder / "queries.png", spent, "queries of a cloud")
        columns = (
            "attack",
            "seed",
            "asr",
            "asr_all",
            "queries",
            "queries_median",
            "failures",
            "l2",
            "chamfer",
            "surface",
        )
        print(report.printed(rows, columns))
        print(f"\nresults: {folder}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(query, argv)


if __name__ == "__main__":
    sys.exit(main())
