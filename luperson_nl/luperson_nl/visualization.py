"""Pictures of a user's own data and models: ranked galleries, maps of features, corrected labels, tracks."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from luperson_nl import evaluation, extraction, figures
from luperson_nl.data.label_truth import LabelTruth
from luperson_nl.data.store import open_store
from luperson_nl.data.street import Street
from luperson_nl.embedding_map import tsne
from luperson_nl.evaluation import reports, scoring
from luperson_nl.retrieval import Features
from shared_utils import UserError

if TYPE_CHECKING:
    from luperson_nl.pretrained import Embedder

_CROP = (128, 64)
_LONGEST = 14


class Labelled(NamedTuple):
    """Crops with noisy ids: ``read`` the crop of a row, 128x64; ``keys`` their names; ``groups`` clips or ids, and ``title``
    what a group is called; ``true`` the persons where they are known."""

    read: Callable[[int], np.ndarray]
    keys: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    title: str
    true: np.ndarray | None


def labelled(data: str | None, seed: int = 0) -> Labelled:
    """The crops of a store, or of the procedural street.

    Args:
        data: a store; None: the street.
        seed: of the street.
    """
    if data is None:
        crops = Street(seed=seed).train()
        keys = np.arange(len(crops))
        return Labelled(lambda row: _fitted(crops.images[row]), keys, crops.labels, crops.clips, "clip", crops.true)
    store = open_store(data)
    index = store.index
    labels = np.asarray(index.label, np.int64)
    known = None if index.true is None else np.asarray(index.true, np.int64)
    if known is not None and (known < 0).any():
        known = None
    return Labelled(lambda row: _fitted(store.image(row)), np.asarray(index.key), labels, labels, "id", known)


def ranks(embedder: Embedder, data: str | None, out: str | Path, limit: int) -> None:
    """Write a page with the ranked galleries of the worst queries."""
    pictures, options = extraction.of_data(data), evaluation.Options()
    scoring.check(pictures.features(), pictures.query, options)
    result = scoring.run(_embedded(embedder, pictures), pictures.query, options)
    reports.write_page(result, pictures.read, out, worst=limit)


def feature_map(embedder: Embedder, data: str | None, out: Path, limit: int) -> None:
    """Draw the features of the first ``limit`` persons as a map."""
    pictures = extraction.of_data(data)
    persons = np.unique(pictures.pid[pictures.pid >= 0])[:limit]
    rows = np.flatnonzero(np.isin(pictures.pid, persons))
    if len(persons) < 2:
        raise UserError(f"a map needs pictures of at least 2 persons, got {len(persons)}: name another --data")
    features = embedder.embed([pictures.read(row) for row in rows.tolist()])
    figures.maps(out, {"t-SNE": tsne(features)}, pictures.pid[rows], pictures.camera[rows])


def corrections(labels: str, data: str | None, out: Path, limit: int, seed: int = 0) -> None:
    """Draw ids before and after the correction.

    Args:
        labels: ``labels_epochNN.npz`` of a training.
        data: what it was trained on: a store; None: the street of ``seed``.
        out: the picture.
        limit: ids shown.
        seed: of the street.

    Raises:
        UserError: not such a file, or of other crops.
    """
    crops = labelled(data, seed)
    try:
        with np.load(labels, allow_pickle=False) as archive:
            keys, before, after = (archive[name] for name in ("key", "label", "corrected"))
    except FileNotFoundError:
        raise UserError(f"{labels} not found: train with --model.save_labels true") from None
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{labels} is not a labels_epochNN.npz of train ({error})") from None
    order = np.argsort(crops.keys, kind="stable")
    place = np.searchsorted(crops.keys, keys, sorter=order).clip(max=len(order) - 1)
    rows = order[place]
    if not (np.array_equal(crops.keys[rows], keys) and np.array_equal(crops.labels[rows], before)):
        raise UserError(
            f"{labels} is of other crops than {data or f'the street of seed {seed}'}: name the right --data"
        )
    owner, true = None, None
    if crops.true is not None:
        owner, true = LabelTruth(crops.labels, crops.true).owner, crops.true[rows]
    figures.corrections(out, lambda row: crops.read(int(rows[row])), before, after, owner, true, groups=limit)


def tracks(data: str | None, out: Path, limit: int, seed: int = 0) -> None:
    """Draw clips (of the street) or ids (of a store) as they were tracked; the noisiest first where the persons are known."""
    crops = labelled(data, seed)
    wrong = second = None
    if crops.true is not None:
        truth = LabelTruth(crops.labels, crops.true)
        chosen = truth.noisiest(crops.labels, crops.groups, limit)
        wrong, second = ~truth.right_person(crops.labels), ~truth.canonical(crops.labels)
    else:
        chosen = np.argsort(-np.bincount(crops.groups), kind="stable")[:limit]
    groups = {}
    for group in chosen.tolist():
        rows = np.flatnonzero(crops.groups == group)
        groups[f"{crops.title} {group}"] = rows[
            np.linspace(0, len(rows) - 1, min(_LONGEST, len(rows))).round().astype(int)
        ]
    figures.tracks(out, crops.read, groups, lambda row: f"id {crops.labels[row]}", wrong, second)


def _embedded(embedder: Embedder, pictures: extraction.Pictures) -> Features:
    parts = []
    for start in range(0, len(pictures), extraction.PART):
        rows = range(start, min(start + extraction.PART, len(pictures)))
        parts.append(embedder.embed([pictures.read(row) for row in rows]))
    return pictures.features(np.concatenate(parts))


def _fitted(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, _CROP[::-1], interpolation=cv2.INTER_AREA)
