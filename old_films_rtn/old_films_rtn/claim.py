"""What the paper claims, held against numbers: recurrence against single frames, and the mask that nobody supervised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from old_films_rtn import evaluation, figures, published
from old_films_rtn.flow import DIS
from old_films_rtn.models.rtn import RTN
from shared_utils import UserError, checkpoint, logging

GAIN, NOT_WORSE, AUROC = 1.5, 0.05, 0.85
"""dB inside true defects, dB outside that count as equal, and area under the ROC curve of the mask."""

CLAIM = (
    f"The recurrent network beats the same network on single frames (equal steps) by at least {GAIN:g} dB inside true defects"
    " and is not worse outside; its output is steadier along the motion; and its mask, which nobody supervised, finds true"
    f" defects with an AUROC of at least {AUROC:g}. On held-out made clips with moving objects, flow by DIS, in every seed."
)


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


def judge(folder: str | Path, clips: int = 32, frames: int = 7, size: int = 64) -> dict[str, Any]:
    """Evaluate the runs in a folder: the content of ``claim.json``, and the sample that the figure shows, under ``shown``.

    Raises UserError where runs are missing.
    """
    folder = Path(folder)
    seeds, dataset = find_seeds(folder), evaluation.held_out(clips, frames, size)
    fidelity, masks, findings, shown = [], [], [], None
    for seed in seeds:
        rtn = published.load(folder / f"recurrent_{seed}").rtn
        single = published.load(folder / f"single_{seed}").rtn
        recurrent = evaluation.Recurrent(rtn)
        methods = {
            "single frames": evaluation.single_frames(single),
            "recurrent": recurrent,
        }
        detectors = recurrent.masks()
        if seed == seeds[0]:
            # None of these depends on a training.
            torch.manual_seed(seed)
            start = evaluation.Recurrent(RTN(**rtn.options).eval())
            baselines = {
                "input": lambda clip, *flows: clip,
                "temporal median": evaluation.temporal_median,
                "recurrent, untrained": start,
            }
            methods = {**baselines, **methods}
            untrained = {"mask, untrained": start.masks()["mask"]}
            detectors = {**detectors, **untrained, "residual": evaluation.residual_map}
        judged = evaluation.Evaluation(methods, detectors, DIS())
        for index in logging.progress(range(len(dataset)), f"seed {seed}"):
            judged.add(dataset[0, index])
        summary = {row["method"]: row for row in judged.summary()}
        scores = {row["mask"]: row for row in judged.masks()}
        for row in summary.values():
            fidelity.append({"seed": seed if row["method"] in ("recurrent", "single frames") else "-", **row})
        for row in scores.values():
            masks.append({"seed": "-" if row["mask"] in ("residual", "mask, untrained") else seed, **row})
        ours, other = summary["recurrent"], summary["single frames"]
        findings.append(
            {
                "seed": seed,
                "gain inside (dB)": ours["psnr inside"] - other["psnr inside"],
                "gain outside (dB)": ours["psnr outside"] - other["psnr outside"],
                "warping error, of single frames'": ours["warping error"] / other["warping error"],
                "mask AUROC": scores["mask"]["auroc"],
                "gain over the median (dB)": ours["psnr"]
                - next(row["psnr"] for row in fidelity if row["method"] == "temporal median"),
            }
        )
        if shown is None:
            shown = (dataset, rtn, single)
    parts = {
        f"at least {GAIN:g} dB inside": [row["gain inside (dB)"] >= GAIN for row in findings],
        "not worse outside": [row["gain outside (dB)"] >= -NOT_WORSE for row in findings],
        "steadier": [row["warping error, of single frames'"] < 1 for row in findings],
        f"mask AUROC of at least {AUROC:g}": [row["mask AUROC"] >= AUROC for row in findings],
    }
    verdict = "; ".join(f"{name}: {sum(passed)} of {len(passed)} seeds" for name, passed in parts.items())
    return {
        "claim": CLAIM,
        "holds": all(map(all, parts.values())),
        "verdict": verdict,
        "tables": [
            {"title": "By seed", "rows": findings},
            {"title": f"{clips} held-out clips of {frames} frames (warping error in thousandths)", "rows": fidelity},
            {"title": "Maps against the true defects, interior frames", "rows": masks},
        ],
        "seeds": seeds,
        "shown": shown,
    }


def write_claim(folder: str | Path, out: str | Path, **sizes: int) -> dict[str, Any]:
    """Judge the runs of a folder and write ``claim.json`` and ``claim.png``; the content."""
    content = judge(folder, **sizes)
    dataset, rtn, single = content.pop("shown")
    figures.comparison(Path(out) / "claim.png", dataset[0, 0], rtn, single)
    caption = (
        "A held-out clip: what went in, the baselines, the network (seed of the first run), its mask, and the truth"
    )
    content["figures"] = [{"file": "claim.png", "caption": caption}]
    content["tables"] = [{"title": table["title"], "rows": _filled(table["rows"])} for table in content["tables"]]
    checkpoint.write_json(content, Path(out) / "claim.json")
    return content


def _filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of equal keys, numbers plain."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    plain = [{name: row.get(name) for name in names} for row in rows]
    return [
        {name: float(value) if isinstance(value, np.floating) else value for name, value in row.items()}
        for row in plain
    ]
