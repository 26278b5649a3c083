"""``load``: the embedder of whatever holds one, from the bundled model to a published file. Nothing of a file is run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from luperson_nl.models.reid import Baseline, build_reid
from luperson_nl.models.statistics import STATISTICS
from luperson_nl.models.trunks import build_trunk, pooled
from luperson_nl.published.importing import Published, import_published
from luperson_nl.published.reading import read
from shared_utils import UserError, checkpoint, files
from shared_utils.checkpoint import import_state_dict, load_tensors, save_safetensors

log = logging.getLogger(__name__)

#: The bundled embedder: the trunk that the default recipe trained on the procedural street.
BUNDLED = Path(__file__).parent / "weights" / "street_pnl"
SIZES = {"trunk": (256, 128), "bot": (256, 128), "agw": (256, 128), "mgn": (384, 128)}
# How many different images are looked at, and the mean cosine between them above which something is wrong.
_LOOKED_AT, _TOO_ALIKE = 64, 0.98


def test_view(image: np.ndarray, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """An image as a network sees it in a test: PIL's bicubic with antialiasing, then normalised.

    Args:
        image: (h, w, 3) uint8 RGB.
        size: (height, width) that it is resized to.
        mean, std: of the pixels in 0..1.

    Returns:
        (3, height, width) float32.
    """
    height, width = size
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    normalised = (resized / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))


# pytest takes a function of this name for a test wherever it is imported.
test_view.__test__ = False  # type: ignore[attr-defined]


class Embedder(nn.Module):
    """A network that turns crops of people into vectors, with everything that has to happen to an image before.

    Args:
        kind: ``trunk`` (the pooled map), ``bot``, ``agw`` or ``mgn`` (the feature behind the neck).
        trunk: its name.
        size: (height, width) that images are resized to; None: that of the kind.
        mean, std: of the pixels, RGB in 0..1.
        options: of ``build_reid``, ``num_classes`` among them.
    """

    def __init__(
        self,
        kind: str = "trunk",
        trunk: str = "resnet50",
        size: Sequence[int] | None = None,
        mean: Sequence[float] = STATISTICS["lmdb_200_20"][0],
        std: Sequence[float] = STATISTICS["lmdb_200_20"][1],
        **options: Any,
    ) -> None:
        super().__init__()
        if kind not in SIZES:
            raise UserError(f"an embedder of kind {kind!r} is not known: use {', '.join(SIZES)}")
        height, width = SIZES[kind] if size is None else size
        self.kind, self.trunk, self.options = kind, trunk, options
        self.size: tuple[int, int] = (int(height), int(width))
        self.mean, self.std = tuple(float(value) for value in mean), tuple(float(value) for value in std)
        if kind == "trunk":
            self.network = build_trunk(trunk)
        else:
            self.network = build_reid(kind, trunk, options.get("num_classes", 1), **_without_classes(options))
        self._looked_at: dict[int, np.ndarray] | None = {}
        self.eval()

    @property
    def num_features(self) -> int:
        """The length of a vector."""
        return int(self.network.num_features)  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def describe(self) -> dict[str, Any]:
        """The constructor's arguments: what ``config.json`` and, under the key ``embedder``, a checkpoint hold."""
        facts = {"kind": self.kind, "trunk": self.trunk, "size": list(self.size)}
        return {**facts, "mean": list(self.mean), "std": list(self.std), **self.options}

    def preprocess(self, image: np.ndarray) -> Tensor:
        """(h, w, 3) uint8 RGB -> (3, H, W) normalised float32; see ``test_view``."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UserError(
                f"an image of shape {image.shape} and type {image.dtype} cannot be embedded: give (h, w, 3) uint8 RGB, 0..255"
            )
        return test_view(image, self.size, self.mean, self.std)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (n, 3, H, W) -> unit vectors (n, num_features)."""
        features = pooled(self.network, images) if self.kind == "trunk" else self.network(images)
        return normalize(features.float())

    @torch.no_grad()
    def embed(self, images: Sequence[np.ndarray], batch_size: int = 64) -> np.ndarray:
        """Unit vectors of images, in their order.

        Warns once where 64 different images get nearly the same vector.

        Args:
            images: each (h, w, 3) uint8 RGB, of any size.
            batch_size: images in the network at once.

        Returns:
            (n, num_features) float32.
        """
        training = self.training
        self.eval()
        found = [np.zeros((0, self.num_features), np.float32)]
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            views = torch.stack([self.preprocess(image) for image in batch]).to(self.device)
            vectors = self(views).cpu().numpy()
            self._look_at(batch, vectors)
            found.append(vectors)
        self.train(training)
        return np.concatenate(found)

    def embed_boxes(self, frame: np.ndarray, boxes: Any) -> np.ndarray:
        """Unit vectors of the people of a frame, for trackers.

        Args:
            frame: (h, w, 3) uint8 RGB.
            boxes: (n, 4) x1, y1, x2, y2 in pixels, an array or what has such an ``xyxy`` (``supervision.Detections``);
                parts outside of the frame are cut off, at least one pixel is kept.

        Returns:
            (n, num_features) float32.
        """
        corners = np.asarray(getattr(boxes, "xyxy", boxes), dtype=np.float64).reshape(-1, 4)
        if not np.isfinite(corners).all():
            raise UserError("a box holds values that are not finite: give x1, y1, x2, y2 in pixels")
        height, width = frame.shape[:2]
        left, top = (np.clip(np.floor(corners[:, i]), 0, size - 1).astype(int) for i, size in ((0, width), (1, height)))
        right = np.clip(np.ceil(corners[:, 2]).astype(int), left + 1, width)
        bottom = np.clip(np.ceil(corners[:, 3]).astype(int), top + 1, height)
        crops = [frame[t:b, x:r] for x, t, r, b in zip(left, top, right, bottom, strict=True)]
        return self.embed(crops)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``, which ``load`` takes."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_safetensors(self.network.state_dict(), folder / "model.safetensors", {"format": "pt"})
        files.write_json(self.describe(), folder / "config.json")

    def _look_at(self, images: Sequence[np.ndarray], vectors: np.ndarray) -> None:
        """Keep the vectors of the first different images; warn once where they point all the same way."""
        if self._looked_at is None:
            return
        for image, vector in zip(images, vectors, strict=True):
            if len(self._looked_at) < _LOOKED_AT:
                self._looked_at.setdefault(hash(image.tobytes()), vector)
        if len(self._looked_at) < _LOOKED_AT:
            return
        kept = np.stack(list(self._looked_at.values()))
        self._looked_at = None
        total = float(np.square(kept.sum(0)).sum())
        if (cosine := (total - len(kept)) / (len(kept) * (len(kept) - 1))) > _TOO_ALIKE:
            log.warning(
                "%d different images have features with a mean cosine of %.3f: the weights are untrained, or images were "
                "normalised twice (give uint8 RGB in 0..255)",
                len(kept),
                cosine,
            )


def _without_classes(options: Mapping[str, Any]) -> dict[str, Any]:
    # A tuple comes back from JSON as a list.
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    given.pop("num_classes", None)
    return given


def load(source: str | Path | None = None, device: str | torch.device = "cpu", **options: Any) -> Embedder:
    """The embedder of a source, verified and in evaluation mode.

    Args:
        source: None, the bundled one; a run folder of train or finetune; a Lightning ``.ckpt``; a folder of
            ``save_pretrained`` or of ``--to reid``; a published file (see ``published``); ``user/model`` on the hub.
        device: where the network goes.
        options: of ``published.import_published``, for a published file (``encoder``, ``trunk``, ``kind``), and ``size``,
            ``mean`` and ``std`` where the file doesn't say them.

    Raises:
        UserError: there is no embedder in it, or it is damaged.
    """
    described = source is not None and (Path(source) / "reid_config.json").is_file()
    path = Path(str(source)) if described else checkpoint.locate(source, BUNDLED)
    if path.suffix == ".safetensors" and path.with_name("config.json").is_file():
        path = path.parent
    if described:
        embedder = _load_reid(path)
    elif path.is_dir():
        embedder = _load_exported(path)
    else:
        content = read(path)
        facts = content.get("hyper_parameters") if isinstance(content, Mapping) else None
        if isinstance(facts, Mapping) and isinstance(facts.get("embedder"), Mapping):
            embedder = _load_lightning(content, facts["embedder"], str(path))
        else:
            view = {name: options.pop(name) for name in ("size", "mean", "std") if name in options}
            return from_published(import_published(content, name=str(path), **options), **view).to(device)
    if options:
        raise UserError(f"{path} says itself what it is: {', '.join(options)} is for published files")
    return embedder.to(device)


def from_published(published: Published, **view: Any) -> Embedder:
    """An embedder around an imported network; ``view``: ``size``, ``mean`` or ``std`` where the file's aren't right."""
    mean, std = published.statistics
    facts = {"mean": mean, "std": std, **view}
    embedder = Embedder(published.kind, published.trunk, **facts, **published.options)
    embedder.network = published.network
    return embedder.eval()


def trunk_weights(source: str | Path | None, **options: Any) -> tuple[str, dict[str, Tensor]]:
    """The trunk inside of a source, to fine-tune from.

    Returns:
        Its name and its state dict, for ``load_trunk`` of a network of ``models.reid``.

    Raises:
        UserError: it is an MGN, which has three trunks.
    """
    embedder = load(source, **options)
    network = embedder.network
    if embedder.kind == "mgn":
        raise UserError(
            f"{source} is an mgn, which has three copies of its last stages: fine-tune from a trunk, bot or agw"
        )
    trunk = network.backbone if isinstance(network, Baseline) else network
    return embedder.trunk, trunk.state_dict()


def _load_exported(folder: Path) -> Embedder:
    config, weights = folder / "config.json", folder / "model.safetensors"
    facts = files.read_json(config, "config of an exported embedder")
    if not isinstance(facts, Mapping) or "kind" not in facts or "trunk" not in facts:
        raise UserError(f"{config} is not the config of an exported embedder: export it again")
    embedder = Embedder(**facts)
    import_state_dict(embedder.network, load_tensors(weights), source=str(weights))
    return embedder


def _load_reid(folder: Path) -> Embedder:
    """The folder that the package `reid` of trackers writes, with an architecture of timm."""
    config = folder / "reid_config.json"
    facts = files.read_json(config, "config of a reid model")
    name = facts.get("architecture", "") if isinstance(facts, Mapping) else ""
    if not str(name).startswith("timm:"):
        raise UserError(f"{config} is of architecture {name or 'unknown'}, which is not built here: only timm:NAME is")
    view = facts.get("preprocessing", {})
    embedder = Embedder(
        "trunk",
        name,
        size=view.get("input_size", (256, 128)),
        mean=view.get("mean", STATISTICS["imagenet"][0]),
        std=view.get("std", STATISTICS["imagenet"][1]),
    )
    weights = folder / "weights.safetensors"
    import_state_dict(embedder.network.model, load_tensors(weights), source=str(weights))  # type: ignore[arg-type]
    return embedder


def _load_lightning(content: Mapping[str, Any], facts: Mapping[str, Any], source: str) -> Embedder:
    # A module that was never linked to its data has no statistics of its own.
    embedder = Embedder(**{name: value for name, value in facts.items() if value is not None})
    state = content.get("state_dict", {})
    prefix = "model.encoder_q.trunk." if embedder.kind == "trunk" else "model."
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        raise UserError(f"{source} holds no entry that begins with {prefix!r}: give a checkpoint of train or finetune")
    import_state_dict(embedder.network, found, source=source)
    return embedder
