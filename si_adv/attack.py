"""Attack point-cloud classifiers and report how that went."""

import sys
from typing import Any, Literal

from shared_utils import cli

COMPARED = "si_ifgm,ifgm,mifgm,pgd,fgm,random_tangent,random"


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
    confidence: float = 0.0,
    target: str | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    sweep: str | None = None,
    normals: Literal["data", "estimated"] | None = None,
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
) -> None:
    """Attack point-cloud classifiers: adversarial clouds, a table and figures.

    Without arguments the PointNet that travels with the package is attacked on the embedded shapes.

    Args:
        attack: names with commas between, e.g. si_ifgm,ifgm,cw.
        compare: run the comparison of the paper's claim over seeds 0,1,2 and print the verdict.
        ckpt: victim, or victims with commas between (path or name=path): a run folder, an exported folder, a .ckpt of
            ours, a published .pth/.t7/.tar.
        data: data set in any of the layouts of the README; the embedded procedural shapes where not given.
        split: which part of the data set.
        limit: at most this many clouds, the classes in turn; null for all.
        seeds: with commas between; each draws its clouds and its random numbers.
        eps: half-width of the box around the clean cloud, per coordinate.
        step_size: a step has the L2 length step_size * sqrt(3 * 1024) over the whole cloud.
        steps: the largest number of steps.
        confidence: by how much the margin must be won.
        target: targeted attack, towards a class (name or number) or the "next" one.
        options: further options by attack, e.g. {cw: {steps: 100}}.
        sweep: repeat for several budgets, e.g. eps:0.02,0.04,0.08 (or step_size:, steps:).
        normals: of the clean clouds, for the attack and for the surface metric: those of the data (estimated where it has
            none), or always estimated, as in the reference figures; estimated with --compare, else of the data.
        defence: attack through this defence (srs, sor or dupnet), adaptively.
        punet: weights of PU-Net for dupnet.
        draws: of a random defence, averaged in every forward pass (expectation over transformation).
        num_points: points of a cloud; what the victim was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        batch_size: clouds kept per file; an interrupted run loses no more than one batch.
        device: auto, cpu, cuda, mps.
        save: formats of the attacked clouds with commas between: npz, ply, txt.
        out: folder for the results; a new runs/attack/version_N where not given.
        resume: go on with what is in --out.
    """
    from shared_utils import UserError, distributed
    from si_adv import jobs, report

    names = jobs.split_names(COMPARED if compare and attack == "si_ifgm" else attack)
    shared = {
        "eps": eps,
        "step_size": step_size,
        "steps": steps,
        "confidence": confidence,
        "targeted": target is not None,
    }
    own = options or {}
    for name in own:
        if name not in names:
            raise UserError(f"options are given for {name}, which is not attacked with: add it to --attack")
    attacks = {}
    for name in names:
        made = jobs.attack_builder(name, shared, own.get(name, {}))
        attacks |= jobs.sweep_builders(name, sweep, shared, own.get(name, {})) if sweep else {name: made}
    with distributed.process_group():
        place = distributed.choose_device(device)
        victims = jobs.open_victims(ckpt, place)
        through = None
        if defence is not None:
            through = jobs.defended_by(defence, punet, draws, place)
        for victim in victims.values():
            for make in attacks.values():
                make(victim, 0)  # an unknown attack or option is found before anything is read
        size = num_points or next(iter(victims.values())).num_points
        kind = normals or ("estimated" if compare else "data")
        folder = jobs.result_folder(out, "attack")
        job = {"attack": shared, "options": own, "sweep": sweep, "data": data, "split": split, "limit": limit}
        rows, arrays = jobs.run_attacks(
            folder,
            victims,
            attacks,
            jobs.split_seeds(seeds or ("0,1,2" if compare else "0")),
            jobs.clouds_of(data, split, size, limit, allow_upsample, kind == "estimated"),
            job=job | {"defence": defence, "draws": draws, "num_points": size, "normals": kind},
            resume=resume,
            target=target,
            through=through,
            batch_size=batch_size,
            device=place,
        )
        if distributed.rank() > 0:
            return
        class_names = next(iter(victims.values())).class_names
        made = jobs.write_attack_report(folder, rows, arrays, class_names, jobs.split_names(save), sweep)
        print(report.printed(rows))
        decided = report.verdict(rows)
        if decided is not None:
            report.write_claim(folder, rows, decided, made)
            runs = report.printed(decided["runs"], list(decided["runs"][0]))
            print(f"\n{report.CLAIM}\n\n{runs}\n\nThe claim {decided['verdict']}.")
        print(f"\nresults: {folder}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(attack, argv)


if __name__ == "__main__":
    sys.exit(main())
