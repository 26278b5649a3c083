"""``load``: the detector of whatever holds one, from the bundled model to a published file. Nothing of a file is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ict_deepfake import scores
from ict_deepfake.faces.alignment import Alignment, network_input
from ict_deepfake.metrics import Calibration
from ict_deepfake.models.ict import ICT, Embeddings
from ict_deepfake.published import NAMES, Published, import_published
from ict_deepfake.references import ReferenceSet
from shared_utils import UserError, checkpoint, files
from shared_utils.checkpoint import import_state_dict, load_tensors, save_safetensors

#: The bundled model: trained by configs/bundled.yaml on procedural faces.
BUNDLED = Path(__file__).parent / "weights" / "faces_ict"
_PREFIX = "model."


class Detector(nn.Module):
    """The network with everything that has to happen to a picture before it, and to its answer after it.

    Args:
        model: the network.
        alignment: how the crops lie that it was trained on; stored with the weights, so that the same picture gets the
            same score, full or cropped.
        calibration: from a score to a probability; None: no probability is given.
    """

    def __init__(self, model: ICT, alignment: Alignment | None = None, calibration: Calibration | None = None) -> None:
        super().__init__()
        self.model = model
        self.alignment = alignment or Alignment()
        self.calibration = calibration
        self.eval()

    @property
    def size(self) -> int:
        """Side of the pictures that the network takes."""
        return int(self.model.config["img_size"])

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def digest(self) -> str:
        """16 hex digits that differ where weights or alignment differ: a reference set is good for one model alone."""
        return checkpoint.weights_digest({**self.model.state_dict(), "alignment": self.alignment.as_dict()})

    def describe(self) -> dict[str, Any]:
        """What ``config.json`` and, under hyper_parameters["detector"], a checkpoint hold: plain values."""
        facts: dict[str, Any] = {"model": dict(self.model.config), "alignment": self.alignment.as_dict()}
        return facts if self.calibration is None else {**facts, "calibration": self.calibration.as_dict()}

    @torch.no_grad()
    def embed(self, crops: Sequence[np.ndarray], batch_size: int = 64) -> Embeddings:
        """Whose inner and whose outer faces aligned pictures show.

        Args:
            crops: each uint8 RGB (h, w, 3), aligned as ``alignment`` says (``faces.align``), of any size.
            batch_size: pictures in the network at once.

        Returns:
            Unit rows (n, dim), on the CPU.
        """
        training = self.training
        self.eval()
        dim = int(self.model.config["embed_dim"])
        found = [Embeddings(torch.zeros(0, dim), torch.zeros(0, dim))]
        for start in range(0, len(crops), batch_size):
            pictures = network_input(list(crops[start : start + batch_size]), self.size).to(self.device)
            inner, outer = self.model(pictures)
            found.append(Embeddings(inner.cpu(), outer.cpu()))
        self.train(training)
        return Embeddings(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def score(
        self, crops: Sequence[np.ndarray], references: ReferenceSet | None = None, batch_size: int = 64
    ) -> dict[str, np.ndarray]:
        """Every score of aligned pictures; see ``score_embeddings``."""
        return self.score_embeddings(self.embed(crops, batch_size), references)

    def score_embeddings(
        self, embeddings: Embeddings, references: ReferenceSet | None = None, k: int = 1
    ) -> dict[str, np.ndarray]:
        """Scores of faces from their embeddings.

        Args:
            embeddings: of ``embed``.
            references: genuine pictures of known persons, of this model.
            k: how many nearest references are averaged.

        Returns:
            Arrays (n,). ``consistency``: ICT, larger means fake. With references also ``reference`` (ICT-Ref) and its
            parts d1, d2, d3, w1, w2, w3, ``inner_match`` and ``outer_match`` (rows of the set); ``inner_name``,
            ``inner_distance``, ``inner_margin`` (how much further the next person is) and the same for ``outer``. With
            a calibration of one of the two scores, ``probability``, made from that one.

        Raises:
            UserError: the references are of another model.
        """
        found = {"consistency": scores.consistency(*embeddings).numpy()}
        if references is not None:
            self.check_references(references)
            made = scores.reference_scores(*embeddings, references.inner, references.outer, k)
            found["reference"] = made.score.numpy()
            found |= {part: getattr(made, part).numpy() for part in ("d1", "d2", "d3", "w1", "w2", "w3")}
            found |= {"inner_match": made.inner_match[:, 0].numpy(), "outer_match": made.outer_match[:, 0].numpy()}
            for face, match in zip(("inner", "outer"), references.who(embeddings), strict=True):
                found[f"{face}_name"] = np.asarray(match.names, str)
                found[f"{face}_distance"], found[f"{face}_margin"] = match.distances, match.margins
        if self.calibration is not None and self.calibration.score in found:
            found["probability"] = self.calibration(found[self.calibration.score])
        return found

    def check_references(self, references: ReferenceSet) -> None:
        """Raise UserError where a reference set is empty, of another length, or of another model."""
        references.check_length(int(self.model.config["embed_dim"]))
        if references.model and references.model != self.digest:
            raise UserError(
                f"the reference set was built with another model ({references.model}, this one is {self.digest}): build "
                "it again with build_reference and this --ckpt"
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``, which ``load`` takes."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_safetensors(self.model.state_dict(), folder / "model.safetensors", {"format": "pt"})
        files.write_json(self.describe(), folder / "config.json")


def load(
    source: str | Path | None = None, device: str | torch.device = "cpu", num_heads: int | None = None
) -> Detector:
    """The detector of a source, verified and in evaluation mode.

    Args:
        source: None, the bundled one; a run folder of train; a Lightning ``.ckpt``; a folder of ``save_pretrained``;
            the published ``ICT_Base.pth``; ``user/model`` on the hub.
        device: where the network goes.
        num_heads: of a published file of another size than the published one, which does not show it.

    Raises:
        UserError: there is no detector in it, or it is damaged. A random network is never returned.
    """
    path = checkpoint.locate(source, BUNDLED)
    if path.suffix == ".safetensors" and path.with_name("config.json").is_file():
        path = path.parent
    if path.is_dir():
        detector = _load_exported(path)
    else:
        content = load_tensors(path)
        facts = content.get("hyper_parameters") if isinstance(content, Mapping) else None
        if isinstance(facts, Mapping) and isinstance(facts.get("detector"), Mapping):
            detector = _load_lightning(content, facts["detector"], str(path))
        else:
            detector = _of_published(import_published(content, num_heads, name=str(path)), str(path))
    return detector.to(device)


def from_description(facts: Mapping[str, Any], source: str = "the description") -> Detector:
    """A detector with fresh weights from the facts of ``Detector.describe``.

    Raises:
        UserError: they are not such facts.
    """
    try:
        model = ICT(**facts["model"])
        alignment = Alignment.from_dict(facts["alignment"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{source} does not describe a detector ({error!r}): export it again") from None
    calibration = facts.get("calibration")
    return Detector(model, alignment, None if calibration is None else Calibration.from_dict(calibration))


def _load_exported(folder: Path) -> Detector:
    config, weights = folder / "config.json", folder / "model.safetensors"
    facts = files.read_json(config, "config of an exported detector")
    if not isinstance(facts, Mapping):
        raise UserError(f"{config} does not describe a detector: export it again")
    detector = from_description(facts, str(config))
    import_state_dict(detector.model, load_tensors(weights), source=str(weights))
    return detector


def _load_lightning(content: Mapping[str, Any], facts: Mapping[str, Any], source: str) -> Detector:
    state = content.get("state_dict", {})
    own = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    if not own:
        raise UserError(f"{source} holds no entry that begins with {_PREFIX!r}: give a checkpoint of train")
    detector = from_description(facts, source)
    import_state_dict(detector.model, own, source=source)
    return detector


def _of_published(published: Published, source: str) -> Detector:
    if not isinstance(published.content, ICT):
        raise UserError(f"{source} holds {NAMES[published.layout]}, not a detector of swaps: give ICT_Base.pth")
    return Detector(published.content)


def import_file(file: str | Path, out: str | Path, num_heads: int | None = None) -> str:
    """Write a published file as ours: ICT_Base.pth as a folder that ``load`` takes, ref.pkl as a reference set.

    Args:
        file: the published file.
        out: the folder; the ``.safetensors`` or ``.npz`` file of a reference set.
        num_heads: of a network of another size than the published one.

    Returns:
        What was found; of a network the beginning of the embedding of a fixed picture, to see that it is a trained one.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """
    published = import_published(checkpoint.locate(file, BUNDLED), num_heads, name=str(file))
    if isinstance(published.content, ReferenceSet):
        published.content.save(out)
        return f"{published}\n{published.content.report()}"
    detector = _of_published(published, str(file))
    detector.save_pretrained(out)
    inner, outer = detector.embed([_fixed_picture()])
    shown = " ".join(f"{value:+.4f}" for value in inner[0, :6].tolist())
    distance = float(scores.consistency(inner, outer))
    return f"{published}\na fixed picture gives inner [{shown} ...], squared distance to outer {distance:.4f}"


def _fixed_picture() -> np.ndarray:
    """A smooth coloured pattern of 112x112, the same everywhere."""
    y, x = np.mgrid[0:112, 0:112] / 112
    waves = np.stack([np.sin(9 * x + 2 * y), np.cos(7 * y - x), np.sin(5 * (x + y))], -1)
    return (127.5 + 127 * waves).astype(np.uint8)
