"""What the paper claims, compared with numbers: recurrence against single frames, and the mask that nobody supervised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from old_films_rtn import baselines, figures, pretrained
from old_films_rtn.baselines import Restore
from old_films_rtn.evaluation.clips import Clips, Evaluation, Recurrent, held_out, sample_of
from old_films_rtn.flow import DIS
from old_films_rtn.models.rtn import RTN
from shared_utils import UserError, distributed, files, work
from shared_utils.checkpoint import weights_digest
from shared_utils.claim import FILE_NAME, Claim, Figure, Table
from shared_utils.work import Work

GAIN, NOT_WORSE, AUROC = 1.5, 0.05, 0.85
"""dB inside true defects, dB outside that count as equal, and area under the ROC curve of the mask."""

CLAIM = (
    f"The recurrent network beats the same network on single frames (equal steps) by at least {GAIN:g} dB inside true defects"
    " and is not worse outside; its output is steadier along the motion; and its mask, which nobody supervised, finds true"
    f" defects with an AUROC of at least {AUROC:g}. On held-out made clips with moving objects, flow by DIS, in every seed."
)
CAPTION = "A held-out clip: what went in, the baselines, the network (seed of the first run), its mask, and the truth"


def find_seeds(folder: Path) -> list[int]:
    """Seeds of which ``recurrent_N`` and ``single_N`` are in the folder. Raises UserError where there is none."""
    seeds = sorted(int(path.name.removeprefix("recurrent_")) for path in folder.glob("recurrent_*"))
    seeds = [seed for seed in seeds if (folder / f"single_{seed}").is_dir()]
    if not seeds:
        raise UserError(
            f"no runs recurrent_N and single_N in {folder}: train them with python train.py --config --name claim/recurrent_0,"
            " and --model.single_frame true --name claim/single_0"
        )
    return seeds


@dataclass
class Measurements:
    """What the claim is judged by: rows by seed, by seed and method, and by seed and map."""

    findings: list[dict[str, Any]] = field(default_factory=list)
    fidelity: list[dict[str, Any]] = field(default_factory=list)
    masks: list[dict[str, Any]] = field(default_factory=list)


def measure(runs: Mapping[int, tuple[RTN, RTN]], dataset: Clips, store: Work | None = None) -> Measurements:
    """Evaluate the recurrent network and that of single frames of every seed on held-out clips, flow by DIS.

    Args:
        runs: seed -> both networks.
        dataset: degraded clips.
        store: keeps finished clips.
    """
    found = Measurements()
    for number, (seed, (rtn, single)) in enumerate(runs.items()):
        recurrent = Recurrent(rtn, DIS())
        methods: dict[str, Restore] = {"single frames": baselines.single_frames(single), "recurrent": recurrent}
        detectors = recurrent.masks()
        if number == 0:
            # None of these depends on a training.
            torch.manual_seed(seed)
            start = Recurrent(RTN(**rtn.options).eval())
            methods = {
                "input": lambda clip, *flows: clip,
                "temporal median": baselines.temporal_median,
                "recurrent, untrained": start,
                **methods,
            }
            detectors |= {"mask, untrained": start.masks()["mask"], "residual": baselines.residual_map}
        compared = Evaluation(methods, detectors, DIS())
        compared.run(dataset, f"seed {seed}", store)
        summary = {row["method"]: row for row in compared.summary()}
        scores = {row["mask"]: row for row in compared.masks()}
        for row in summary.values():
            found.fidelity.append({"seed": seed if row["method"] in ("recurrent", "single frames") else "-", **row})
        for row in scores.values():
            found.masks.append({"seed": "-" if row["mask"] in ("residual", "mask, untrained") else seed, **row})
        ours, other = summary["recurrent"], summary["single frames"]
        median = next(row["psnr"] for row in found.fidelity if row["method"] == "temporal median")
        found.findings.append(
            {
                "seed": seed,
                "gain inside (dB)": ours["psnr inside"] - other["psnr inside"],
                "gain outside (dB)": ours["psnr outside"] - other["psnr outside"],
                "warping error, of single frames'": ours["warping error"] / other["warping error"],
                "mask AUROC": scores["mask"]["auroc"],
                "gain over the median (dB)": ours["psnr"] - median,
            }
        )
    return found


def judge(found: Measurements, clips: int, frames: int) -> Claim:
    """Whether the measurements show the claim. clips, frames: what was measured on, for the title of a table."""
    rows = found.findings
    parts = {
        f"at least {GAIN:g} dB inside": [row["gain inside (dB)"] >= GAIN for row in rows],
        "not worse outside": [row["gain outside (dB)"] >= -NOT_WORSE for row in rows],
        "steadier": [row["warping error, of single frames'"] < 1 for row in rows],
        f"mask AUROC of at least {AUROC:g}": [row["mask AUROC"] >= AUROC for row in rows],
    }
    return Claim(
        claim=CLAIM,
        holds=all(map(all, parts.values())),
        verdict="; ".join(f"{name}: {sum(passed)} of {len(passed)} seeds" for name, passed in parts.items()),
        tables=[
            Table("By seed", rows),
            Table(f"{clips} held-out clips of {frames} frames (warping error in thousandths)", found.fidelity),
            Table("Maps against the true defects, interior frames", found.masks),
        ],
        figures=[Figure("claim.png", CAPTION)],
        seeds=[row["seed"] for row in rows],
    )


def judge_runs(
    runs: str | Path,
    out: str | Path,
    sizes: tuple[int, int, int],
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Claim | None:
    """Evaluate the runs of a folder and write ``claim.json`` and ``claim.png``.

    Args:
        runs: the folder of the runs recurrent_N and single_N.
        out: the folder to write; finished clips are kept in its sub-folder ``scores``.
        sizes: number of held-out clips, frames and pixels of each.
        resume: continue an interrupted evaluation.
        overwrite: replace what is there.

    Returns:
        The claim on the first process, None on others.

    Raises:
        UserError: runs are missing, or ``out`` holds a claim already.
    """
    folder, out = Path(runs), Path(out)
    networks = {
        seed: (pretrained.load(folder / f"recurrent_{seed}").rtn, pretrained.load(folder / f"single_{seed}").rtn)
        for seed in find_seeds(folder)
    }
    files.refuse_existing(out / FILE_NAME, overwrite or resume, resume_possible=True)
    job = {
        "clips, frames, size": sizes,
        "weights": {seed: [weights_digest(rtn) for rtn in pair] for seed, pair in networks.items()},
    }
    dataset = held_out(*sizes)
    with work.begin(out / "scores", job, resume=resume, overwrite=overwrite) as store:
        found = measure(networks, dataset, store)
        store.complete()
        if distributed.rank() != 0:
            return None
        figures.comparison(out / "claim.png", sample_of(dataset, 0), *next(iter(networks.values())))
        claim = judge(found, *sizes[:2])
        claim.write(out)
    return claim
