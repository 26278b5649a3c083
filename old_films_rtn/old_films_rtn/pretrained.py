"""Trained networks by name, each with what goes before and after it.

``load`` and ``load_colour`` take the same kinds of source: None, a run's folder, a ``.ckpt`` of it, an exported folder, a
``.safetensors``, a Hugging Face hub id ``user/model``; ``load`` also the authors' ``net_G_*.pth``. Every file is verified, and
nothing in it is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from old_films_rtn import published
from old_films_rtn.colour.cells import CarryCell, ColourCell, OnLightness, coloured, network_frame
from old_films_rtn.colour.lab import lightness, to_lab
from old_films_rtn.compositing import Compositing, composite, fill_in, kept_probability
from old_films_rtn.flow import DIS, FlowSource, NoFlow
from old_films_rtn.losses import PerceptualLoss
from old_films_rtn.metrics import LPIPS
from old_films_rtn.models.colour import ColourNetwork
from old_films_rtn.models.raft import RAFT
from old_films_rtn.models.rtn import RTN
from old_films_rtn.streaming import RestorationCell, detect_shot, restore_shot
from old_films_rtn.tiles import halo, padded
from old_films_rtn.video.frame import to_unit
from shared_utils import UserError, checkpoint, files

BUNDLED = Path(__file__).parent / "weights" / "rtn_procedural.safetensors"
BUNDLED_COLOUR = BUNDLED.with_name("colour.safetensors")
"""The small networks inside the package (see the README beside them)."""


class Restorer:
    """A restoration network, RAFT where it has one, and the way from a film's frames to its restored frames.

    >>> restored, defects = load("net_G_200000.pth")(frames)  # (t, h, w) uint8 or uint16, any size
    """

    def __init__(self, rtn: RTN, raft: RAFT | None = None) -> None:
        self.rtn, self.raft = rtn, raft

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of both networks, RAFT's under ``raft.``: what ``load`` reads back."""
        state = dict(self.rtn.state_dict())
        if self.raft is not None:
            state |= {f"raft.{name}": tensor for name, tensor in self.raft.state_dict().items()}
        return state

    def flow(self, name: str = "auto") -> FlowSource:
        """The flow source of a name (see ``flow_source``)."""
        return flow_source(name, self.raft)

    @property
    def halo(self) -> int:
        """Pixels around a tile that can change what is inside it."""
        return halo(self.rtn.forward_transformer)

    @property
    def detects(self) -> bool:
        """Whether it has a detector: then defects are found and filled in before the first pass."""
        return self.rtn.detector is not None

    @property
    def passes(self) -> int:
        """How often a film goes through it where nothing else is asked for: once where a detector goes before it or the
        form is the published one, else twice."""
        return 1 if self.rtn.tanh_residual or self.detects else 2

    def cell(
        self, device: torch.device | str = "cpu", precision: str = "fp32", tile: int | None = None
    ) -> RestorationCell:
        """The network as ``streaming`` takes it, on a device, in a precision and in tiles."""
        return RestorationCell(self.rtn, device, precision, tile)

    def __call__(
        self,
        frames: np.ndarray,
        how: Compositing = Compositing(),  # noqa: B008 (frozen)
        *,
        passes: int | None = None,
        flow: str = "auto",
        black_white: tuple[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Restore a shot that fits into memory; whole films go through ``inference.restoration``.

        Args:
            frames: (t, h, w) luma codes, uint8 or uint16.
            how: what of the network's output goes back into the picture.
            passes: how often the shot goes through the network, each time with the flow of what the last one restored;
                ``passes`` where not given.
            flow: see ``flow_source``.
            black_white: the codes of black and white; the whole range of the type where not given.
            device: where to compute.

        Returns:
            The restored codes (t, h, w), of the same type, and the defect maps (t, h, w) uint8, 255 on defects and 0 where
            the codes are what they were.
        """
        height, width = frames.shape[1:]
        black_white = black_white or (0, np.iinfo(frames.dtype).max)
        source, cell = self.flow(flow), self.cell(device)
        if isinstance(source, RAFT):
            source.to(device)

        def as_frames(codes: np.ndarray) -> list[Tensor]:
            units = (to_unit(frame, black_white) for frame in codes)
            return [torch.from_numpy(padded(unit)).to(device).expand(1, 3, -1, -1) for unit in units]

        restored, defects = frames, np.empty(frames.shape, np.uint8)
        shares: list[np.ndarray | None] = [None] * len(frames)
        if self.detects:
            restored = np.empty_like(frames)
            for index, probability in detect_shot(cell, as_frames(frames), source):
                found = probability[0, 0, :height, :width].cpu().numpy()
                restored[index], shares[index] = fill_in(
                    frames[index], kept_probability(found, how.least_probability), how.least_probability
                )
        for left in reversed(range(passes or self.passes)):
            before, clip = restored, as_frames(restored)
            restored = np.empty_like(frames)
            for result in restore_shot(cell, clip, source, chunk=max(1, len(clip))):
                output, residual = result.planes(height, width)
                luma = frames[result.index]
                # What an earlier pass restored stays confirmed, though its neighbours explain it now.
                residual = np.where(before[result.index] != luma, np.inf, residual)
                share = shares[result.index]
                after = composite(luma, black_white, output, how.between if left else how, residual, given=share)
                restored[result.index], defects[result.index] = after.codes, after.defects
        return restored, defects

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` into a folder."""
        config = {"network": "RTN", **self.rtn.options, "raft": self.raft is not None}
        _save_folder(folder, self.state_dict(), config)


class Colourer:
    """The way from a shot in grey and some of its frames in colour to the shot in colour. Without a network colour is only
    carried along the flow.
    """

    def __init__(self, model: ColourNetwork | None = None) -> None:
        self.model = model

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of the network; none without one."""
        return {} if self.model is None else dict(self.model.state_dict())

    @property
    def halo(self) -> int:
        """Pixels around a tile that can change what is inside it."""
        return 0 if self.model is None else self.model.fusion.REACH

    def cell(self, device: torch.device | str = "cpu", precision: str = "fp32", tile: int | None = None) -> CarryCell:
        """The network as ``streaming`` takes it, on a device, in a precision and in tiles."""
        return CarryCell() if self.model is None else ColourCell(self.model, device, precision, tile)

    def __call__(
        self,
        frames: np.ndarray,
        keys: Mapping[int, np.ndarray],
        *,
        flow: str = "auto",
        black_white: tuple[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> np.ndarray:
        """Colour a shot that fits into memory; whole films go through ``inference.colouring``.

        Args:
            frames: (t, h, w) luma codes, uint8 or uint16.
            keys: frame number -> (h, w, 3) RGB, uint8: the frames that are given in colour.
            flow: see ``flow_source``.
            black_white: the codes of black and white; the whole range of the type where not given.
            device: where to compute.

        Returns:
            (t, h, w, 3) float32 RGB in [0, 1].
        """
        black_white = black_white or (0, np.iinfo(frames.dtype).max)
        grey = [lightness((to_unit(frame, black_white) + 1) / 2) for frame in frames]
        given = {index: to_lab(key)[1:] for index, key in keys.items()}
        clip = [network_frame(image, given.get(index)).to(device) for index, image in enumerate(grey)]
        source, cell = OnLightness(flow_source(flow)), self.cell(device)
        if isinstance(cell, ColourCell):
            cell = cell.with_keys(clip[index] for index in sorted(given))
        results = restore_shot(cell, clip, source, chunk=max(1, len(clip)))
        return np.stack([coloured(result, grey[result.index]) for result in results])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` into a folder. Raises UserError without a network."""
        if self.model is None:
            raise UserError("there is no colour network to write: give a run of train_colour.py as --ckpt")
        _save_folder(folder, self.state_dict(), {"network": "ColourNetwork"})


def load(source: str | Path | None = None) -> Restorer:
    """The restoration network of any kind of source; None: the bundled one. Of a run, the running average of the weights
    where it keeps one.

    Raises:
        UserError: it is missing, damaged, or another network; the message names it.
    """
    path = checkpoint.locate(source, BUNDLED)
    content, name = _content(path)
    if "pytorch-lightning_version" in content:
        stored = content["state_dict"]
        # A checkpoint of train.py carries the discriminator and VGG19's place, too; what restores is one of these.
        prefix = "average." if any(entry.startswith("average.") for entry in stored) else "rtn."
        _refuse_colour(stored, name)
        own = {entry.removeprefix(prefix): value for entry, value in stored.items() if entry.startswith(prefix)}
        return _restorer(own or stored, name)
    state = published.state_of(content, name)
    _refuse_colour(state, name)
    if any(entry.startswith("forward_transformer.") for entry in state):
        return _restorer(state, name)
    return Restorer(*published.import_generator(state, name)[0])


def load_colour(source: str | Path | None = None) -> Colourer:
    """The colour network of any kind of source; None: the bundled one.

    Raises:
        UserError: it is missing, damaged, or another network; the message names it.
    """
    content, name = _content(checkpoint.locate(source, BUNDLED_COLOUR))
    state = published.state_of(content, name)
    state = {entry.removeprefix("model."): tensor for entry, tensor in state.items()}
    if not any(entry.startswith("correspondence.") for entry in state):
        raise UserError(f"{name} is not a colour network: give a run of train_colour.py")
    model = ColourNetwork()
    checkpoint.import_state_dict(model, state, source=name)
    return Colourer(model.eval())


def _content(path: Path) -> tuple[dict[str, Any], str]:
    """The content of a checkpoint or of an exported folder, and its name."""
    if path.is_dir():
        files.read_json(path / "config.json", "config of an exported network")
        path = path / "model.safetensors"
    content = checkpoint.load_tensors(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no state dict: expected {{'netG': state dict}} or the state dict itself")
    return content, str(path)


def _refuse_colour(state: Mapping[str, Tensor], source: str) -> None:
    if any(name.removeprefix("model.") == "fusion.out.weight" for name in state):
        raise UserError(f"{source} is a colour network: give it to colorize.py, and a run of train.py here")


def _restorer(state: Mapping[str, Tensor], source: str) -> Restorer:
    """An ``RTN``, and RAFT under ``raft.`` where it is there, from a state dict of ours."""
    flow = {name.removeprefix("raft."): tensor for name, tensor in state.items() if name.startswith("raft.")}
    rest = {name: tensor for name, tensor in state.items() if not name.startswith("raft.")}
    try:
        rtn = RTN(**rtn_options(rest))
    except KeyError as error:
        raise UserError(f"{source} is not a generator of RTN: it lacks {error.args[0]}") from None
    checkpoint.import_state_dict(rtn, rest, source=source)
    return Restorer(rtn.eval(), published.import_raft(flow, f"RAFT in {source}") if flow else None)


def rtn_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor arguments of an ``RTN``, all of which follow from the shapes of its state dict.

    Raises KeyError where it is not one.
    """
    channels, frame_channels = state["forward_aggregation.embedding.weight"].shape[:2]
    return {
        "channels": channels,
        **_transformer_options(state),
        "tanh_residual": state["fusion.weight"].shape[1] == 2 * channels,
        "frame_channels": frame_channels,
        "detector": any(name.startswith("detector.") for name in state),
    }


def _transformer_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Width, depths and heads of the transformers of an ``RTN``. Raises KeyError where there are none."""
    prefix = "forward_transformer."
    pattern = re.compile(re.escape(prefix) + r"groups\.(\d+)\.blocks\.(\d+)\.")
    blocks = {tuple(map(int, found.groups())) for name in state if (found := pattern.match(name))}
    return {
        "width": state[prefix + "conv_second.weight"].shape[0],
        "depths": [sum(group == number for group, _ in blocks) for number in sorted({group for group, _ in blocks})],
        "num_heads": state[prefix + "groups.0.blocks.0.attn.relative_position_bias_table"].shape[1],
    }


def _save_folder(folder: str | Path, state: Mapping[str, Tensor], config: dict[str, Any]) -> None:
    # The config last: a folder with one is whole.
    checkpoint.save_safetensors(state, Path(folder) / "model.safetensors", {"format": "pt"})
    files.write_json(config, Path(folder) / "config.json")


# Networks that help: flow, and what losses and metrics look with ---------------------------------------------------------


def flow_source(name: str, raft: RAFT | None = None) -> FlowSource:
    """The source of a name: ``checkpoint`` (``raft``), ``raft:FILE``, ``dis``, ``none``, or ``auto``: RAFT where the
    checkpoint has it, else DIS.

    A RAFT of random weights is never used. Raises UserError for an unknown name, or where RAFT is wanted and missing.
    """
    kind, _, file = name.partition(":")
    if kind == "raft" and file:
        return published.load_raft(file)
    if name == "auto":
        return raft if raft is not None else DIS()
    if name == "dis":
        return DIS()
    if name == "none":
        return NoFlow()
    if name == "checkpoint":
        if raft is not None:
            return raft
        raise UserError(
            "the checkpoint has no RAFT in it: give --flow raft:raft-sintel.pth, put one in with "
            "`python import_checkpoint.py CHECKPOINT --out rtn --raft raft-sintel.pth`, or use --flow dis"
        )
    raise UserError(f"--flow {name} is not known: auto, checkpoint, raft:FILE, dis or none")


def perceptual_loss(path: str | Path, normalise: bool = False) -> PerceptualLoss:
    """The perceptual loss on VGG19 of a file, ``vgg19-dcbb9e9d.pth`` of torchvision.

    Raises:
        UserError: the file is missing or not VGG19's: random weights would train silently.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(
            f"VGG19's weights {path} not found: download vgg19-dcbb9e9d.pth of torchvision, or train without the term"
            " (model.perceptual: null)"
        )
    state = published.state_of(checkpoint.load_tensors(path), str(path))
    return PerceptualLoss(published.vgg19_features(state, str(path)), normalise)


def perceptual_distance(files: Sequence[str | Path]) -> LPIPS:
    """LPIPS of the files of AlexNet and of its linear layers. Raises UserError where they are not two, or not those."""
    if len(files) != 2:
        raise UserError("--lpips takes two files: [alexnet-owt-7be5be79.pth, alex.pth]")
    return LPIPS(*(published.state_of(checkpoint.load_tensors(file), str(file)) for file in files))
