"""Attack point-cloud classifiers and report the result."""

from typing import Any, Literal

from shared_utils import cli

COMPARED = "si_ifgm,ifgm,mifgm,pgd,fgm,random_tangent,random"
# The margin of clouds that leave for other programs: see "Saved clouds" in RESULTS.md.
EXPORT_CONFIDENCE = 1.0


def attack(
    attack: str = "si_ifgm",
    compare: bool = False,
    ckpt: str | None = None,
    data: str | None = None,
    split: Literal["train", "val", "test"] = "test",
    limit: int | None = 50,
    seeds: str | None = None,
    eps: float = 0.16,
    step_size: float = 0.007,
    steps: int = 50,
    confidence: float | None = None,
    target: str | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    sweep: str | None = None,
    normals: Literal["data", "estimated"] | None = None,
    noise: float | None = None,
    defence: str | None = None,
    punet: str | None = None,
    draws: int = 1,
    num_points: int | None = None,
    allow_upsample: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    save: str = "npz",
    out: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Attack point-cloud classifiers: adversarial clouds, a table and figures.

    Without arguments the bundled PointNet is attacked on the embedded shapes.

    Args:
        attack: names with commas between, e.g. si_ifgm,ifgm,cw.
        compare: run the comparison of the paper's claim over seeds 0,1,2 and print the verdict.
        ckpt: victim, or victims with commas between (source or name=source): a run folder, a .ckpt, an exported folder, a
            published .pth/.t7/.tar, user/model on the hub, or a bundled one by its name (pointnet, dgcnn, pointnet2); the
            bundled PointNet where not given.
        data: data set in any of the layouts of the README; the embedded procedural shapes where not given.
        split: which part of the data set.
        limit: at most this many clouds, the classes in turn; null for all.
        seeds: with commas between; each draws its clouds and its random numbers.
        eps: half-width of the box around the clean cloud, per coordinate.
        step_size: a step has the L2 length step_size * sqrt(3 * 1024) over the whole cloud.
        steps: the largest number of steps.
        confidence: by how much the margin must be won; where not given 0, as published, and EXPORT_CONFIDENCE where clouds
            are saved for other programs (ply, txt), which may centre and scale them again.
        target: targeted attack, towards a class (name or number) or the "next" one.
        options: further options by attack, e.g. {cw: {iterations: 100}}.
        sweep: repeat for several budgets, e.g. eps:0.02,0.04,0.08 (or step_size:, steps:).
        normals: of the clean clouds, for the attack: those of the data (estimated where it has none), or always estimated,
            as in the reference figures; estimated with --compare, else of the data.
        noise: of the embedded shapes, standard deviation; where not given none with --compare, else 0.01, as in training.
        defence: attack through this defence (srs, sor, dupnet or surface_opt), adaptively.
        punet: weights of PU-Net for dupnet.
        draws: of a random defence, averaged in every forward pass (expectation over transformation).
        num_points: points of a cloud; what the victim was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        batch_size: clouds kept per file; an interrupted run loses no more than one batch.
        device: auto, cpu, cuda, mps.
        save: formats of the attacked clouds with commas between: npz, ply, txt.
        out: folder for the results; a new runs/attack/version_N where not given.
        resume: continue what is in --out, if it is the same experiment.
        overwrite: replace what is in --out.
    """
    from shared_utils import distributed, lists
    from si_adv import claim, defences, pretrained
    from si_adv.attacks import budgets
    from si_adv.evaluation import clouds, experiment, paired, reports, tables

    experiment.refuse_existing(out, resume, overwrite)
    names = lists.names(COMPARED if compare and attack == "si_ifgm" else attack)
    formats = reports.chosen_formats(save)
    exported = not compare and set(formats) - {"npz"}
    margin = (EXPORT_CONFIDENCE if exported else 0.0) if confidence is None else confidence
    budget = {"eps": eps, "step_size": step_size, "steps": steps, "confidence": margin}
    attacks = budgets.makers(names, budget | {"targeted": target is not None}, options or {}, sweep)
    draws_of = lists.numbers(seeds or ("0,1,2" if compare else "0"), int, "seeds")
    with distributed.process_group():
        place = distributed.choose_device(device)
        victims = pretrained.load_several(ckpt, place)
        first = next(iter(victims.values()))
        through = defences.InFront(defence, punet, draws, place) if defence else None
        budgets.check(attacks, victims.values())
        size, kind = num_points or first.num_points, normals or ("estimated" if compare else "data")
        noise = 0.0 if noise is None and compare and data is None else noise
        source = {"allow_upsample": allow_upsample, "estimated_normals": kind == "estimated", "noise": noise}
        taken = clouds.load_draws(draws_of, data, split, size, limit, **source)
        made = experiment.Experiment(victims, attacks, taken, target, through, batch_size, place)
        settings = budget | {"options": options, "sweep": sweep, "num_points": size, "normals": kind}
        settings |= {"data": data, "split": split, "limit": limit, "defence": through and through.description()}
        with experiment.begin(out, "attack", made.description(settings), resume=resume, overwrite=overwrite) as store:
            runs = made.run(store)
            if distributed.rank() == 0:
                rows = tables.attack_table(runs)
                reports.write_attacks(store.folder, rows, runs, first.class_names, formats, sweep, taken)
                print(tables.printed(rows, tables.PRINTED))
                if claim.can_judge(rows):
                    judged = claim.judge(rows, paired.per_cloud(runs))
                    print(f"\n{judged}\nkeep it: {cli.command('claim')} {store.folder}")
                print(f"\nresults: {store.folder}")
            store.complete()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(attack, argv)
