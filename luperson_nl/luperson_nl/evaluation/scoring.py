"""Evaluating a retrieval: what is checked before the work, and the rows of its table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from luperson_nl import retrieval
from luperson_nl.data.own_pictures import first_as_query
from luperson_nl.retrieval import Features, Matches, Protocol, RerankDistance, SameCamera, Scores
from luperson_nl.retrieval.scores import Retrieval, no_valid_query
from shared_utils import UserError

NEIGHBOURS = 5  # of query expansion, as published


@dataclass(frozen=True)
class Options:
    """How a retrieval is evaluated; see the command ``evaluate``."""

    protocol: Protocol = "fastreid"
    same_camera: SameCamera = "drop"
    rerank: bool = False
    rerank_distance: RerankDistance = "cosine"
    aqe: bool = False
    roc: bool = False
    reassociation: bool = False
    gap: int = 30
    max_rank: int = 50
    seed: int = 0

    def job(self) -> dict[str, Any]:
        """As a job is described."""
        return asdict(self)


def parts(features: Features, query: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of query and gallery in one table: as ``query`` says, else the first of each person and camera asks."""
    asks = first_as_query(features.pid, features.camera) if query is None else query
    return np.flatnonzero(asks), np.flatnonzero(~asks)


def check(features: Features, query: np.ndarray | None, options: Options) -> None:
    """What can be known to be wrong before anything is embedded.

    Args:
        features: what is known of the pictures; their values do not matter.
        query: which ones ask.
        options: of the evaluation.

    Raises:
        UserError: a picture has no person or camera; no query has a match that counts.
    """
    if options.gap < 1 or options.max_rank < 1:
        raise UserError(f"--gap and --max_rank must be at least 1, got {options.gap} and {options.max_rank}")
    if (features.pid == -1).all():
        raise UserError(
            f"the {len(features)} pictures have no person in their names: name them as in 0002_c1_000451.jpg (person 2), sort "
            "them into a folder a person, or list them in a CSV file with pid"
        )
    if options.reassociation:
        retrieval.check_frames(features)
        return
    unknown = np.flatnonzero(features.camera == -1)
    if options.same_camera == "drop" and len(unknown):
        raise UserError(
            f"{len(unknown)} of {len(features)} pictures have no camera in their names (the first is "
            f"{features.name(int(unknown[0]))}): name them as in 0002_c1_000451.jpg (camera 1), list them in a CSV file "
            "with camid, or count matches of every camera with --same_camera keep"
        )
    asking, gallery = (features[rows] for rows in parts(features, query))
    if not len(asking) or not len(gallery):
        missing = "query" if not len(asking) else "gallery"
        raise UserError(
            f"there is no picture in the {missing}: an evaluation needs a query and a gallery (see README.md)"
        )
    if options.protocol == "market-trapezoid":
        gallery = gallery[gallery.pid != -1]
    ids = asking.pid, asking.camera, gallery.pid, gallery.camera
    matches = Matches(*ids, options.same_camera, asking.paths, gallery.paths)
    if not any(len(matches.of(row)[0]) for row in range(len(asking))):
        raise no_valid_query(matches, len(asking))


@dataclass(frozen=True)
class Result:
    """The rows of an evaluation.

    Args:
        rows: how it was ranked -> scores.
        query: the features that ask.
        gallery: the others.
        query_rows, gallery_rows: their rows in the table that they come from.
        ready: ranks as the last row does; None for re-association.
    """

    rows: dict[str, Scores]
    query: Features
    gallery: Features
    query_rows: np.ndarray
    gallery_rows: np.ndarray
    ready: Retrieval | None

    def table(self) -> list[dict[str, Any]]:
        """Rows to print."""
        return [{"ranked by": title} | scores.row() for title, scores in self.rows.items()]


def run(features: Features, query: np.ndarray | None, options: Options, device: str | torch.device = "cpu") -> Result:
    """Score by the features alone, and then with what the options add: expansion, re-ranking."""
    if options.reassociation:
        scores = retrieval.reassociate(features, options.gap, device=device, max_rank=options.max_rank)
        every = np.arange(len(features))
        return Result({f"features, after {options.gap} frames": scores}, features, features, every, every, None)
    query_rows, gallery_rows = parts(features, query)
    asking, gallery = features[query_rows], features[gallery_rows]
    steps: list[tuple[str, int, bool]] = [("features", 0, False)]
    if options.aqe:
        steps.append(("with query expansion", NEIGHBOURS, False))
    if options.rerank:
        steps.append(("re-ranked" + (", with query expansion" if options.aqe else ""), steps[-1][1], True))
    rows, ready = {}, None
    for title, expansion, rerank in steps:
        ready = retrieval.prepare(
            asking,
            gallery,
            options.protocol,
            same_camera=options.same_camera,
            rerank=rerank,
            rerank_distance=options.rerank_distance,
            expansion=expansion,
            device=device,
        )
        rows[title] = retrieval.score(
            ready, options.protocol, roc=options.roc, max_rank=options.max_rank, seed=options.seed
        )
    return Result(rows, asking, gallery, query_rows, gallery_rows, ready)
