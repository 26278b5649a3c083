"""What can be said of swaps of real people: a plain recogniser that knows the claimed name, and ICT; prints AUCs.

    python benchmarks/real_swaps.py SET/pairs.json --people PEOPLE          # a set of make_swaps, and the people's pictures
    python benchmarks/real_swaps.py SET/pairs.json --people PEOPLE --landmarks POINTS.json --ckpt RUN

The claim of every suspect is the person whose head it is. The picture that a suspect was made from is never among the
references it is compared with. Needs the extra [dlib].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ict_deepfake import degradations, enrolment, faces, metrics, pretrained, references, scores
from ict_deepfake.enrolment import DlibDescriber, ICTDescriber
from ict_deepfake.faces import Faces
from ict_deepfake.models.ict import Embeddings
from shared_utils import UserError, cli, files
from shared_utils.logging import progress, table

CHANGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "clean": lambda image, rng: image,
    "64 px": lambda image, rng: cv2.resize(
        cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA), image.shape[1::-1], interpolation=cv2.INTER_LINEAR
    ),
    "noise": lambda image, rng: np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8),
    "JPEG 20": lambda image, rng: degradations.operations.jpeg(image, 20),
}


def measure(data: str, people: str, ckpt: str | None = None, landmarks: str | None = None, seed: int = 0) -> None:
    """Print the AUC of each question by kind of swap, and what the claim's threshold catches.

    Args:
        data: pairs.json: {"file", "label", "outer", "inner", "target"} and "mask" or "region"; aligned crops.
        people: a folder with one folder of pictures a person, which "outer" names.
        ckpt: of ICT; the bundled model where not given.
        landmarks: of the people's pictures; MTCNN looks for the faces where not given.
        seed: of the noise.
    """
    torch.set_num_threads(1)
    entries = _entries(Path(data))
    detector = pretrained.load(ckpt)
    describers = {"recogniser": DlibDescriber(), "ICT": ICTDescriber(detector)}
    finder = faces.landmark_file(landmarks) if landmarks else faces.detector("mtcnn")
    portraits = enrolment.portraits(people)
    known = {
        name: enrolment.enrol(portraits, references.empty(each.model), each, finder).references
        for name, each in describers.items()
    }
    names = _names(portraits, known["recogniser"])
    labels = np.array([entry["label"] for entry in entries])
    kinds = np.array([entry.get("mask") or entry.get("method") or "" for entry in entries])
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for change, changed in CHANGES.items():
        asked = [
            _ask(entry, changed(faces.read_picture(Path(data).parent / entry["file"]), rng), describers, known, names)
            for entry in progress(entries, change)
        ]
        for kind in ["all", *dict.fromkeys(kinds[labels == 1].tolist())]:
            here = (labels == 0) | (kinds == kind) | (kind == "all")
            row: dict[str, Any] = {"swaps": kind, "change": change, "number": int(labels[here].sum())}
            for question in asked[0]:
                values = np.array([one[question] for one in asked])
                if question in ("donor", "refused"):
                    row[question] = f"{100 * values[here & (labels == 1)].mean():.0f} %"
                else:
                    row[question] = metrics.auc(values[here], labels[here])
            row["genuine passed"] = (
                f"{100 - 100 * np.mean([one['refused'] for one in np.array(asked)[labels == 0]]):.0f} %"
            )
            rows.append(row)
    print(
        table(
            rows,
            f"{int((labels == 0).sum())} genuine crops, {int(labels.sum())} swaps; donor, refused: by the recogniser",
        )
    )


def _ask(
    entry: dict[str, Any],
    image: np.ndarray,
    describers: dict[str, DlibDescriber | ICTDescriber],
    known: dict[str, references.ReferenceSet],
    names: list[tuple[str, str]],
) -> dict[str, float]:
    """Every question to one crop; larger means rather a swap."""
    points = np.array(faces.TEMPLATE, np.float32)
    low, high = points.min(0), points.max(0)
    found = Faces(np.array([[*low, *high]]), np.ones(1, np.float32), points[None])
    answers: dict[str, float] = {}
    for name, describer in describers.items():
        rows = describer.describe(image, found)
        others = [number for number, source in enumerate(names) if entry["target"] not in source]
        left = references.ReferenceSet(
            [known[name].names[number] for number in others],
            known[name].inner[others],
            known[name].outer[others],
            model=describer.model,
        )
        distance = float(scores.claim(rows.inner, left.inner[left.rows(entry["outer"])])[0])
        answers[f"claim, {name}"] = distance
        if name == "recogniser":
            answers["donor"] = float(left.who(rows).inner.names[0] == entry["inner"])
            answers["refused"] = float(distance > left.claim_threshold(entry["outer"]).value)
        else:
            answers["ICT"] = float(scores.consistency(rows.inner, rows.outer)[0])
            answers["ICT-Ref"] = float(_reference_score(rows, left))
    return answers


def _reference_score(rows: Embeddings, known: references.ReferenceSet) -> torch.Tensor:
    return scores.reference_scores(rows.inner, rows.outer, known.inner, known.outer).score[0]


def _names(portraits: list[enrolment.Portrait], known: references.ReferenceSet) -> list[tuple[str, str]]:
    """Of each reference what a set may call its picture: person/file, or the person and the picture's number."""
    found, numbers = {}, Counter()
    for portrait in portraits:
        number, numbers[portrait.person] = numbers[portrait.person], numbers[portrait.person] + 1
        digest = references.hash_file(portrait.path).digest
        found[digest] = (f"{portrait.person}/{portrait.path.name}", f"{portrait.person}__{number:04d}")
    return [found[digest] for digest in known.sources]


def _entries(path: Path) -> list[dict[str, Any]]:
    entries = files.read_json(path, "list of swaps")
    wanted = {"file", "label", "outer", "inner", "target"}
    if not isinstance(entries, list) or not all(isinstance(one, dict) and wanted <= set(one) for one in entries):
        raise UserError(
            f"{path} is not a list of entries with {', '.join(sorted(wanted))}: give pairs.json of make_swaps"
        )
    return entries


if __name__ == "__main__":
    raise SystemExit(cli.run(measure))
