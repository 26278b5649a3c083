"""Pictures in, answers out: class maps, objects, classes of every image of a folder, each written once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from rmoe import panels
from rmoe.data.files import IMAGE_ENDINGS, read_image
from rmoe.evaluation import detection
from rmoe.evaluation.segmentation import MULTI_SCALE
from rmoe.moe import moe_layers
from rmoe.predictors import ImageSegmenter, Predictor
from shared_utils import UserError, distributed, files
from shared_utils.logging import progress
from shared_utils.work import Work


def find_images(source: str | Path, limit: int | None = None) -> list[Path]:
    """A picture, or those of a folder and the folders in it, in order of their names.

    Raises:
        UserError: there is none.
    """
    path = Path(source)
    if limit is not None and limit < 1:
        raise UserError(f"limit must be at least 1, got {limit}")
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} not found: give a picture, or a folder of them")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_ENDINGS)
    if not found:
        raise UserError(f"{path} holds no picture ({', '.join(IMAGE_ENDINGS)})")
    return found[:limit]


def part_names(images: Sequence[Path], source: str | Path) -> dict[str, Path]:
    """What the files of each picture are called: its path in the folder without its ending, with it where two are alike."""
    root = Path(source) if Path(source).is_dir() else Path(source).parent
    stems = [str(path.relative_to(root).with_suffix("")) for path in images]
    return {
        str(path.relative_to(root)) if stems.count(stem) > 1 else stem: path
        for stem, path in zip(stems, images, strict=True)
    }


class Writer:
    """Writes the answer for a picture.

    Args:
        given: the model.
        out: folder.
        ms_flip: segmentation: average over scales and mirrored images.
        experts: also write an expert map a mixture, NAME_experts_LAYER.png.
        score: objects with at least this score are drawn; the json holds all.
    """

    def __init__(
        self, given: Predictor, out: str | Path, ms_flip: bool = False, experts: bool = False, score: float = 0.3
    ) -> None:
        if experts and not given.has_experts:
            raise UserError("--experts: this model has no experts; convert.py gives it some")
        if ms_flip and given.task != "segmentation":
            raise UserError(f"--ms_flip is for segmentation, this model is for {given.task}")
        if given.task == "backbone":
            raise UserError("this is a backbone without a head, which predicts nothing: train it with train.py first")
        self.given, self.out, self.experts, self.score = given, Path(out), experts, score
        if isinstance(given, ImageSegmenter):
            self.segment = given.configured(MULTI_SCALE if ms_flip else (1.0,), ms_flip)

    def __call__(self, name: str, path: Path) -> str:
        """Write what the model says of a picture; a line about it."""
        image = read_image(path)
        line = getattr(self, f"_{self.given.task}")(name, image)
        if self.experts:
            counts = {layer: mixture.num_experts for layer, mixture in moe_layers(self.given.model)}
            for layer, found in self.given.expert_maps(image).items():
                self._save(panels.expert_image(image, found, counts[layer]), f"{name}_experts_{layer}.png")
        return f"{path}: {line}"

    def _save(self, pixels: np.ndarray, name: str) -> None:
        with files.replacing(self.out / name) as temporary, temporary.open("wb") as stream:
            Image.fromarray(pixels).save(stream, format="PNG")

    def _segmentation(self, name: str, image: Tensor) -> str:
        names = self.given.class_names
        found = self.segment(image).cpu().numpy()
        self._save(panels.class_image(found, len(names)), f"{name}_colour.png")
        self._save(found.astype(np.uint8 if len(names) <= 256 else np.uint16), f"{name}_index.png")
        values, counts = np.unique(found, return_counts=True)
        largest = sorted(zip(counts / found.size, values, strict=True), reverse=True)[:3]
        return ", ".join(f"{names[value]} {share:.0%}" for share, value in largest)

    def _detection(self, name: str, image: Tensor) -> str:
        found, names = self.given(image), self.given.class_names
        results = detection.to_results(0, found, range(len(names)))
        for result in results:
            del result["image_id"]
            result["class"] = names[result.pop("category_id")]
        height, width = image.shape[1:]
        files.write_json({"height": height, "width": width, "objects": results}, self.out / f"{name}.json")
        kept = found["scores"] >= self.score
        drawn = {key: value[kept] for key, value in found.items()}
        panels.overlay(image, drawn, names, self.out / f"{name}_overlay.png")
        return f"{len(results)} objects, {int(kept.sum())} with a score of at least {self.score:g}"

    def _classification(self, name: str, image: Tensor) -> str:
        shares, names = self.given(image)[-1], self.given.class_names
        best = shares.topk(min(5, len(shares)))
        ranked = [
            {"class": names[number], "probability": share}
            for share, number in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        files.write_json({"classes": ranked}, self.out / f"{name}.json")
        return f"{ranked[0]['class']} {ranked[0]['probability']:.2f}"


def predict_all(writer: Writer, pictures: dict[str, Path], parts: Work) -> list[str]:
    """Every picture that has no answer yet, each rank its share; a line for each that was done here."""
    missing = distributed.broadcast(
        [name for name in pictures if not parts.has(name)] if distributed.rank() == 0 else None
    )
    lines = []
    for name in progress(distributed.share(missing), "predicting"):
        lines.append(writer(name, pictures[name]))
        parts.mark(name)
    distributed.barrier()
    return lines
