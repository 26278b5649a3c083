"""``load``: the mouth model of whatever holds one, from the bundled model to a published file. Nothing of a file is run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from av_deepfake.calibration import Calibration
from av_deepfake.mel import log_mel
from av_deepfake.models.branches import AudioBranch, AudioVisual, Detector, VideoBranch
from av_deepfake.models.frontend import VideoFrontend
from av_deepfake.models.mstcn import MouthTCN
from av_deepfake.preprocessing import resized
from av_deepfake.published import NAMES, Published, import_published
from av_deepfake.synchrony import Synchrony, synchrony, undetermined, why_not, window_rows
from shared_utils import UserError, checkpoint, files
from shared_utils.checkpoint import import_state_dict, load_tensors, save_safetensors

#: The bundled model: trained by configs/bundled.yaml on procedural mouths.
BUNDLED = Path(__file__).parent / "weights" / "mouths_av"
#: How the published mouth networks take their clips.
PUBLISHED_CLIPS: dict[str, Any] = {
    **{"variant": "2020", "landmarks": "68", "crop_size": 96, "size": 88, "frames": 25, "fps": 25},
    **{"mean": 0.421, "std": 0.165},
}
_PREFIX = "model."
_FRONT = ("channels", "widths", "blocks", "activation")
_TOGETHER = 32


class MouthModel(nn.Module):
    """The networks with everything that has to happen to a clip before them, and to their answer after them.

    Args:
        agreement: both branches of the pre-training.
        branch: a video branch alone, where there is no sound branch.
        detector: the fine-tuned network; None before fine-tuning.
        preprocessing: how clips are made: ``crop_size`` and ``variant`` of the crop, ``landmarks`` that it was cut by,
            ``size`` of its middle that the network takes, ``frames`` and ``fps`` of a clip, ``mean`` and ``std``.
        training: what it was trained on, with the ranges of its clips.
        calibration: from a logit to a probability; None: no probability is given.
        fresh: parts that are not trained: they are not stored, but drawn again.
    """

    def __init__(
        self,
        agreement: AudioVisual | None = None,
        branch: VideoBranch | None = None,
        detector: Detector | MouthTCN | None = None,
        preprocessing: Mapping[str, Any] = PUBLISHED_CLIPS,
        training: Mapping[str, Any] | None = None,
        calibration: Calibration | None = None,
        fresh: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.agreement, self.branch, self.detector = agreement, branch, detector
        self.preprocessing = {**PUBLISHED_CLIPS, **preprocessing}
        self.training_data = dict(training or {})
        self.calibration, self.fresh = calibration, fresh
        self.eval()

    @property
    def video(self) -> VideoBranch | None:
        """The pre-trained video branch."""
        return self.branch if self.agreement is None else self.agreement.video

    @property
    def audio(self) -> AudioBranch | None:
        """The pre-trained audio branch, which the synchrony needs."""
        return None if self.agreement is None else self.agreement.audio

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @cached_property
    def digest(self) -> str:
        """16 hex digits that differ where weights or the making of clips differ."""
        return checkpoint.weights_digest({**self.state_dict(), "preprocessing": sorted(self.preprocessing.items())})

    def describe(self) -> dict[str, Any]:
        """What ``config.json`` holds: plain values."""
        video, pair = self.video, self.agreement
        return {
            "video": None if video is None else video.config,
            "audio": None if pair is None else pair.audio.config,
            "projection": None if pair is None else pair.video_projection.out_features,
            "compare": None if pair is None else pair.compare,
            "detector": None if self.detector is None else self.detector.config,
            "preprocessing": self.preprocessing,
            "training": self.training_data,
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "fresh": list(self.fresh),
        }

    def prepared(self, clips: np.ndarray) -> np.ndarray:
        """What the networks see of mouth crops: brought to the size of the training's crops, of which the middle is taken.

        Args:
            clips: uint8 (..., h, w).

        Returns:
            uint8 (..., size, size).
        """
        crop, size = self.preprocessing["crop_size"], self.preprocessing["size"]
        clips = resized(clips, crop)
        first = (crop - size) // 2
        return clips[..., first : first + size, first : first + size]

    def normalised(self, clips: np.ndarray) -> Tensor:
        """Mouth crops as the networks take them: uint8 (n, T, h, w) -> float32 (n, 1, T, size, size), on the device."""
        pictures = torch.from_numpy(np.ascontiguousarray(self.prepared(clips))).to(self.device)
        mean, std = self.preprocessing["mean"], self.preprocessing["std"]
        return pictures.unsqueeze(1).float().div_(255).sub_(mean).div_(std)

    @torch.no_grad()
    def score(self, clips: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Logits of clips, larger means fake; a video's is the mean over its clips.

        Args:
            clips: mouth crops, uint8 (n, T, h, w), T at most the frames of the training's clips.
            valid: (n, T) bool, the frames that count; None: all.

        Returns:
            (n,) float32.

        Raises:
            UserError: the model has no detector.
        """
        if self.detector is None:
            raise UserError("this model has no detector yet: fine-tune it with train --config detect.yaml --weights")
        if not len(clips):
            return np.zeros(0, np.float32)
        counted = np.ones(clips.shape[:2], bool) if valid is None else np.asarray(valid, bool)
        found = []
        for start in range(0, len(clips), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            mask = torch.from_numpy(counted[part]).to(self.device)
            found.append(self.detector(self.normalised(clips[part]), mask).reshape(len(mask), -1)[:, 0].float().cpu())
        return torch.cat(found).numpy()

    @torch.no_grad()
    def synchrony(self, pictures: np.ndarray, samples: np.ndarray, reach: int = 15) -> Synchrony:
        """How late the sound of a stretch of video is; undetermined, with the reason, where that cannot be said.

        Args:
            pictures: mouth crops, uint8 (T, h, w), 25 a second.
            samples: (s,) float, 16 kHz, from the time of the first picture.
            reach: the largest shift that is tried, in frames.

        Raises:
            UserError: the model has no audio branch.
        """
        if self.agreement is None:
            raise UserError("this model has no audio branch: give one of the pre-training (train), or the bundled one")
        samples, frames = np.asarray(samples, np.float32), len(pictures)
        window = int(self.preprocessing["frames"])
        if reason := why_not(samples, frames, window):
            return undetermined(reason)
        sound = log_mel(torch.from_numpy(samples[: frames * 640]), frames).to(self.device)
        rows = window_rows(self.agreement, self.normalised(np.asarray(pictures)[None]), sound[None], window)
        return synchrony(*rows, reach=reach)

    def _drawn(self) -> list[str]:
        """Entries of the fresh parts."""
        return [name for name in self.state_dict() if name.startswith(tuple(f"{part}." for part in self.fresh))]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``, which ``load`` takes."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = self.state_dict()
        for name, shared in _shared(state).items():
            if shared in state and torch.equal(state[name], state[shared]):
                del state[name]
        for name in self._drawn():
            del state[name]
        save_safetensors(state, folder / "model.safetensors", {"format": "pt"})
        files.write_json(self.describe(), folder / "config.json")


def _shared(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Entries of the detector's front-end, and those of the branch that it comes from: stored once where they are equal."""
    found = {}
    for name in state:
        if name.startswith(("detector.frontend.", "detector.frontend3D.", "detector.trunk.")):
            own = name.removeprefix("detector.").removeprefix("frontend.")
            for source in ("agreement.video", "branch"):
                if (other := f"{source}.frontend.{own}") in state:
                    found[name] = other
    return found


def load(source: str | Path | None = None, device: str | torch.device = "cpu") -> MouthModel:
    """The mouth model of a source, verified and in evaluation mode.

    Args:
        source: None, the bundled one; a run folder of train; a Lightning ``.ckpt``; a folder of ``save_pretrained``; a
            published file of LipForensics or of the lip-reading zoo; ``user/model`` on the hub.
        device: where the networks go.

    Raises:
        UserError: there is no mouth model in it, or it is damaged.
    """
    path = checkpoint.locate(source, BUNDLED)
    if path.suffix == ".safetensors" and path.with_name("config.json").is_file():
        path = path.parent
    if path.is_dir():
        model = _load_exported(path)
    else:
        content = load_tensors(path)
        facts = content.get("hyper_parameters") if isinstance(content, Mapping) else None
        if isinstance(facts, Mapping) and isinstance(facts.get("mouth_model"), Mapping):
            model = _load_lightning(content, facts["mouth_model"], str(path))
        else:
            model = of_published(import_published(content, name=str(path)), str(path))
    return model.to(device)


def from_description(facts: Mapping[str, Any], source: str = "the description") -> MouthModel:
    """A mouth model with fresh weights from the facts of ``MouthModel.describe``.

    Raises:
        UserError: they are not such facts.
    """
    try:
        video, audio, detector = (facts.get(name) for name in ("video", "audio", "detector"))
        pair = (
            AudioVisual(video, audio, facts["projection"], facts.get("compare") or "clip") if video and audio else None
        )
        branch = _fresh_branch(video) if video and not audio else None
        found = None if detector is None else (MouthTCN if "kernels" in detector else Detector)(**detector)
        if pair is None and branch is None and found is None:
            raise ValueError("no network")
        given, calibration = dict(facts["preprocessing"]), facts.get("calibration")
        return MouthModel(
            *(pair, branch, found, given, facts.get("training")),
            calibration=None if calibration is None else Calibration.from_dict(calibration),
            fresh=tuple(facts.get("fresh") or ()),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{source} does not describe a mouth model ({error!r}): export it again") from None


def join(agreement: MouthModel, detector: MouthModel) -> MouthModel:
    """One model of the branches of one and the detector of another, which was fine-tuned from it.

    Raises:
        UserError: one has not what it is to give, or they take clips made in different ways.
    """
    if agreement.agreement is None or detector.detector is None:
        missing = "the first model has no audio branch" if agreement.agreement is None else "the second has no detector"
        raise UserError(f"{missing}: join a run of the pre-training with a run that was fine-tuned from it")
    for key in ("size", "crop_size", "frames", "mean", "std", "variant"):
        ours, theirs = agreement.preprocessing[key], detector.preprocessing[key]
        if ours != theirs:
            raise UserError(
                f"clips are made with {key} {ours} for the branches, {theirs} for the detector: no one model"
            )
    return MouthModel(
        agreement.agreement,
        None,
        detector.detector,
        detector.preprocessing,
        {**agreement.training_data, **detector.training_data},
        detector.calibration,
    )


def _load_exported(folder: Path) -> MouthModel:
    config, weights = folder / "config.json", folder / "model.safetensors"
    facts = files.read_json(config, "config of an exported mouth model")
    if not isinstance(facts, Mapping):
        raise UserError(f"{config} does not describe a mouth model: export it again")
    model = from_description(facts, str(config))
    state = load_tensors(weights)
    for name, shared in _shared(model.state_dict()).items():
        if name not in state and shared in state:
            state[name] = state[shared]
    own = model.state_dict()
    state |= {name: own[name] for name in model._drawn() if name not in state}
    import_state_dict(model, state, source=str(weights))
    return model


def _load_lightning(content: Mapping[str, Any], facts: Mapping[str, Any], source: str) -> MouthModel:
    state = content.get("state_dict", {})
    own = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    if not own:
        raise UserError(f"{source} holds no entry that begins with {_PREFIX!r}: give a checkpoint of train")
    if facts.get("detector") is not None:  # a run of the fine-tuning holds the detector alone
        facts = {**facts, "video": None, "audio": None}
    model = from_description(facts, source)
    network = model.detector or model.agreement or model.branch
    assert network is not None
    import_state_dict(network, own, source=source)
    return model


def of_published(published: Published, source: str) -> MouthModel:
    """A published mouth network as a model.

    Of LipForensics: its detector, and a branch with its front-end to fine-tune. Of a word reader or a front-end: the branch.
    The branch's encoder is fresh, as ``fresh`` says: it has to be trained first.

    Raises:
        UserError: it is another kind of network.
    """
    network = published.content
    if not isinstance(network, VideoFrontend):
        raise UserError(
            f"{source} holds {NAMES[published.layout]}, which scores no mouths: give a file of LipForensics or a word reader"
        )
    branch = _fresh_branch({key: value for key, value in network.config.items() if key in _FRONT})
    branch.frontend.frontend3D, branch.frontend.trunk = network.frontend3D, network.trunk
    detector = network if isinstance(network, MouthTCN) and network.config["classes"] == 1 else None
    training = {"detection": {"set": "FaceForensics++ c23 (LipForensics)"}} if detector is not None else {}
    return MouthModel(None, branch, detector, PUBLISHED_CLIPS, training, fresh=("branch.encoder",))


def _fresh_branch(config: Mapping[str, Any]) -> VideoBranch:
    """A branch whose weights are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VideoBranch(**config)


def import_file(file: str | Path, out: str | Path) -> str:
    """Write a published mouth network as a folder that ``load`` takes.

    Args:
        file: of LipForensics, or of the lip-reading zoo.
        out: the folder.

    Returns:
        What was found; what is not used and what has to be trained still; and the beginning of the features of a fixed
        clip, to see that the network is a trained one.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """
    published = import_published(checkpoint.locate(file, BUNDLED), name=str(file))
    model = of_published(published, str(file))
    model.save_pretrained(out)
    lines = [str(published)]
    if isinstance(published.content, MouthTCN) and model.detector is None:
        lines.append("left out: the head of the word reader (tcn)")
    if model.detector is None:
        lines.append("no detector: fine-tune it with train --config detect.yaml --weights, its encoder is fresh")
    clip = _fixed_clip(model)
    with torch.no_grad():
        assert model.video is not None
        values = model.video.features(model.normalised(clip))[0, 0, :6].tolist()
    lines.append(f"a fixed clip gives features [{' '.join(f'{value:+.4f}' for value in values)} ...]")
    if model.detector is not None:
        lines.append(f"and the logit {model.score(clip)[0]:+.4f}")
    return "\n".join(lines)


def _fixed_clip(model: MouthModel) -> np.ndarray:
    """Moving grey waves, the same everywhere: (1, 5, crop, crop) uint8."""
    y, x = np.mgrid[0 : model.preprocessing["crop_size"], 0 : model.preprocessing["crop_size"]] / 96
    return np.stack([(127.5 + 127 * np.sin(9 * x + 5 * y + t)).astype(np.uint8) for t in range(5)])[None]
