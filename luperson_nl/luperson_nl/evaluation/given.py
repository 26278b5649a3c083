"""What is evaluated: a model on data, or features of a file; and the work from there to the files of the result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luperson_nl import extraction
from luperson_nl.data.image_lists import read_image
from luperson_nl.data.tar_pictures import is_there
from luperson_nl.evaluation.reports import save, write_page
from luperson_nl.evaluation.scoring import Options, Result, check, run
from luperson_nl.retrieval import Features
from shared_utils import distributed, work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Given:
    """What is evaluated, checked, and not yet embedded.

    Args:
        title: of the table.
        job: everything that the features depend on.
        features: makes them, in the parts of a job; their values on the first rank only.
        query: which rows ask; None where nothing says so.
        read: the picture of a row; None where the pictures are not there.
    """

    title: str
    job: dict[str, Any]
    features: Callable[[work.Work], Features]
    query: np.ndarray | None
    read: Callable[[int], np.ndarray] | None


def of_features(path: str | Path, options: Options) -> Given:
    """Features of an ``.npz``.

    Raises:
        UserError: see ``extraction.read_features`` and ``scoring.check``.
    """
    stored = extraction.read_features(path)
    features = stored.features
    check(features, stored.query, options)
    features.normalised()
    names = [] if features.paths is None else [str(name) for name in features.paths]
    there = bool(names) and all(map(is_there, names))
    facts = Path(path).stat()
    job = {"features": str(path), "bytes": facts.st_size, "modified": facts.st_mtime_ns}
    read = (lambda row: read_image(names[row])) if there else None
    return Given(f"{path}, {len(features)} pictures", job, lambda parts: features, stored.query, read)


def of_model(ckpt: str | None, data: str | None, options: Options, device: torch.device) -> Given:
    """A model on data; the data is checked before the model is loaded.

    Raises:
        UserError: see ``extraction.of_data``, ``scoring.check`` and ``pretrained.load``.
    """
    from luperson_nl import pretrained

    pictures = extraction.of_data(data)
    check(pictures.features(), pictures.query, options)
    embedder = pretrained.load(ckpt).to(device)

    def features(parts: work.Work) -> Features:
        names = extraction.extract(embedder, pictures, parts)
        if distributed.rank():
            return pictures.features()
        return pictures.features(np.concatenate(list(extraction.features_of(parts, names))))

    title = f"{data or 'the procedural street'}, {len(pictures)} pictures"
    return Given(title, extraction.job(embedder, pictures), features, pictures.query, pictures.read)


def finish(
    given: Given,
    options: Options,
    out: str | Path,
    worst: int,
    device: torch.device,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Result | None:
    """Embed what is missing, score, and write the files; the result on the first rank, None on the others.

    Args:
        given: what is evaluated.
        options: how.
        out: the folder.
        worst: queries on the page; 0 writes none.
        device: where products of features are computed.
        resume, overwrite: see ``shared_utils.work.begin``.
    """
    with work.begin(out, given.job | options.job() | {"worst": worst}, resume=resume, overwrite=overwrite) as parts:
        features = given.features(parts)
        result = None
        if distributed.rank() == 0:
            result = run(features, given.query, options, device)
            # The table is not needed any longer; what ranks holds its own.
            result = replace(result, query=_without_values(result.query), gallery=_without_values(result.gallery))
            save(result, options, out)
            if worst and result.ready is not None and given.read is None:
                log.warning("no ranking.html: the pictures of the features are not at their paths")
            elif worst and result.ready is not None and given.read is not None:
                write_page(result, given.read, Path(out) / "ranking.html", worst)
        parts.complete()
    return result


def _without_values(features: Features) -> Features:
    return replace(features, array=np.zeros((len(features), 0), np.float32))
