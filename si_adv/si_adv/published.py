"""The authors' checkpoints: which victim a file holds, how its names map onto ours, and the way back.

A published file is a pickle of a state dict, bare or under ``model_state_dict``, ``model_state``, ``state_dict`` or ``net``,
possibly saved from DataParallel. The architecture is recognised by names and shapes, which also give the number of classes
and whether the victim takes normals; our victims carry the published attribute names, so what is left to map is the
DataParallel prefix and the names under which a file holds one module twice.
"""

from __future__ import annotations

import difflib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_utils import UserError
from si_adv.models import build_victim
from si_adv.victim import Victim

if TYPE_CHECKING:
    from shared_utils.checkpoint import ImportReport

State = Mapping[str, Tensor]
_WRAPPERS = ("model_state_dict", "model_state", "state_dict", "net")
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Layout:
    """How the checkpoint of one architecture looks.

    signature: entries that together only this architecture has, with their shapes (None: any size).
    classifier: the entry whose first dimension is the number of classes.
    first: the entry whose second dimension tells 3 input channels from 6; None where normals change no shape.
    with_normals: that dimension for a victim with normals.
    options: constructor arguments by the entry and dimension that tell them.
    aliases: prefixes (alias, name in force): the file holds one module under both.
    """

    signature: dict[str, tuple[int | None, ...]]
    classifier: str | None = None
    first: str | None = None
    with_normals: int = 6
    options: dict[str, tuple[str, int]] = field(default_factory=dict)
    aliases: tuple[tuple[str, str], ...] = ()


LAYOUTS: dict[str, Layout] = {
    "pointnet": Layout(
        {"feat.stn.fc3.weight": (9, 256), "feat.fstn.fc3.weight": (4096, 256)}, "fc3.weight", "feat.conv1.weight"
    ),
    # Before pointnet2_ssg, all of whose entries it has too.
    "pointconv": Layout(
        {"sa1.weightnet.mlp_convs.0.weight": (8, 3, 1, 1), "sa3.linear.weight": (1024, 16384)},
        "fc3.weight",
        "sa1.mlp_convs.0.weight",
    ),
    "pointnet2_ssg": Layout(
        {
            "sa1.mlp_convs.0.weight": (64, None, 1, 1),
            "sa3.mlp_convs.2.weight": (1024, 512, 1, 1),
            "fc3.weight": (None, 256),
        },
        "fc3.weight",
        "sa1.mlp_convs.0.weight",
    ),
    "pointnet2_msg": Layout(
        {"sa1.conv_blocks.2.0.weight": (64, None, 1, 1), "sa2.conv_blocks.0.0.weight": (64, 323, 1, 1)},
        "fc3.weight",
        "sa1.conv_blocks.0.0.weight",
    ),
    "dgcnn": Layout(
        {"conv1.0.weight": (64, None, 1, 1), "conv4.0.weight": (256, 256, 1, 1), "linear3.weight": (None, 256)},
        "linear3.weight",
        "conv1.0.weight",
        with_normals=12,
        options={"embedding": ("conv5.0.weight", 0)},
        aliases=tuple((f"bn{layer}.", f"conv{layer}.1.") for layer in range(1, 6)),
    ),
    "pct": Layout(
        {"pt_last.sa1.v_conv.weight": (256, 256, 1), "conv_fuse.0.weight": (1024, 1280, 1)},
        "linear3.weight",
        "conv1.weight",
        aliases=tuple((f"pt_last.sa{layer}.q_conv.", f"pt_last.sa{layer}.k_conv.") for layer in range(1, 5)),
    ),
    "pointmlp": Layout(
        {"embedding.net.0.weight": (64, None, 1), "pre_blocks_list.0.operation.0.net1.0.weight": (128, 128, 1)},
        "classifier.8.weight",
        "embedding.net.0.weight",
    ),
    "pointmlp_elite": Layout(
        {"embedding.net.0.weight": (32, None, 1), "pre_blocks_list.0.operation.0.net1.0.weight": (16, 64, 1)},
        "classifier.8.weight",
        "embedding.net.0.weight",
    ),
    "paconv": Layout(
        {"matrice1": (6, None), "matrice4": (256, None)}, "linear3.weight", aliases=(("bn5.", "conv5.1."),)
    ),
    "curvenet": Layout(
        {"lpfa.mlp.0.0.weight": (32, 9, 1, 1), "cic11.curvegrouping.walk.agent_mlp.0.weight": (1, None, 1, 1)},
        "conv2.weight",
    ),
    "simple_view": Layout(
        {"img_model.0.weight": (None, 1, 3, 3), "final_fc.model.3.weight": (None, None)},
        "final_fc.model.7.weight",
        options={"width": ("img_model.0.weight", 0)},
    ),
    "pointcnn": Layout(
        {"pcnn1.pointcnn.x_conv.x_trans.0.f.conv.weight": (64, 3, 1, 8), "fcn.2.linear.weight": (None, 64)},
        "fcn.2.linear.weight",
    ),
    "pu_net": Layout(
        {"SA_modules.0.mlps.0.layer0.conv.weight": (32, 3, 1, 1), "pcd_layer.1.layer0.conv.weight": (3, 64, 1, 1)}
    ),
}


@dataclass(frozen=True)
class PublishedReport:
    """What an import found.

    num_classes: None for PU-Net. options: constructor arguments read off the shapes. entries: what matched, and what
    the file was allowed to lack.
    """

    architecture: str
    num_classes: int | None
    with_normals: bool
    options: dict[str, int]
    entries: ImportReport

    def __str__(self) -> str:
        kind = f", {self.num_classes} classes" if self.num_classes else ""
        return f"{self.architecture}{kind}{', with normals' if self.with_normals else ''}: {self.entries}"


def import_published(
    source: str | Path | State, architecture: str | None = None, **options: Any
) -> tuple[nn.Module, PublishedReport]:
    """The victim (or the PU-Net) of a published checkpoint, in evaluation mode, and a report of the import.

    Args:
        source: a file, or what was loaded from one (wrapped or bare state dict).
        architecture: a name of ``LAYOUTS``; None: recognised by names and shapes.
        options: further arguments of the constructor, such as ``fps_start``.

    Raises:
        UserError: what is not a checkpoint (a web page, an empty or truncated file, one that asks for code), an unknown
            architecture, and entries that are missing, unexpected or of another shape (up to ten of each); names the
            file and the reason.
    """
    if isinstance(source, str | Path):
        return import_content(read_checkpoint(source), architecture, str(source), **options)
    return import_content(source, architecture, **options)


def import_content(
    content: Any, architecture: str | None = None, source: str = "the state dict", **options: Any
) -> tuple[nn.Module, PublishedReport]:
    """``import_published`` of what a file held; ``source`` names it in errors."""
    from shared_utils.checkpoint import import_state_dict

    state = find_state(content, source)
    if architecture is None:
        architecture = detect(state, source)
    elif architecture not in LAYOUTS:
        closest = difflib.get_close_matches(str(architecture), LAYOUTS, n=1, cutoff=0.0)[0]
        raise UserError(
            f"unknown architecture {architecture!r}: did you mean {closest!r}? (known: {', '.join(LAYOUTS)})"
        )
    layout = LAYOUTS[architecture]
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{source}: {name} holds values that are not finite: use another checkpoint")
    found = {name: size for name, entry in layout.options.items() if (size := _size(state, *entry)) is not None}
    with_normals = layout.first is not None and _size(state, layout.first, 1) == layout.with_normals
    if layout.classifier is None:  # PU-Net
        from si_adv.models.punet import PUNet

        found = {"up_ratio": max(1, len({name.split(".")[1] for name in state if name.startswith("FC_Modules.")}))}
        num_classes, model = None, PUNet(**{**found, **options})
    else:
        # A file without its classifier is named entry by entry below, whatever number of classes is assumed here.
        num_classes = _size(state, layout.classifier, 0) or 1
        model = build_victim(architecture, num_classes, with_normals, **{**found, **options})
    state = _resolve_aliases(state, layout, model)
    entries = import_state_dict(model, state, source=f"{source} (as {architecture})")
    return model.eval(), PublishedReport(architecture, num_classes, with_normals, found, entries)


def export_published(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """``{'model_state_dict': ...}`` under the published names, aliases written, as the published code loads it.

    Args:
        model: one of our victims, a ``Victim`` or a PU-Net.

    Raises:
        UserError: another model.
    """
    model = model.model if isinstance(model, Victim) else model
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    for alias, name in LAYOUTS[detect(state, type(model).__name__)].aliases:
        for entry in [entry for entry in state if entry.startswith(name)]:
            state[alias + entry.removeprefix(name)] = state[entry]
    return {"model_state_dict": state}


def detect(state: State, source: str = "the state dict") -> str:
    """The architecture whose signature the entries show; UserError, naming what was found, if there is none."""
    for architecture, layout in LAYOUTS.items():
        if all(_shows(state, name, shape) for name, shape in layout.signature.items()):
            return architecture
    shown = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(state.items())[:3])
    raise UserError(
        f"{source} has the entries of no published model ({shown}, ... {len(state)} in all); known: {', '.join(LAYOUTS)}"
    )


def read_checkpoint(path: str | Path) -> Any:
    """The content of a weights file, safely: torch (``.pth``, ``.t7``, ``.tar``, ``.ckpt``), safetensors, quantised npz.

    Raises:
        UserError: it is not one; names the file and the reason.
    """
    from shared_utils.checkpoint import load_tensors

    return read_quantised(path) if Path(path).suffix == ".npz" else load_tensors(path)


def read_quantised(path: str | Path) -> dict[str, Tensor]:
    """The float32 state dict of an int8-quantised npz.

    A weight of two or more dimensions is stored as ``<name>__q`` (int8) and ``<name>__scale`` (float32, one a row of
    the output, or of a shape that broadcasts): weight = q * scale. Every other entry is stored as it is.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} not found: give the npz of quantised weights")
    try:
        with np.load(path, allow_pickle=False) as archive:
            stored = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError) as error:
        raise UserError(
            f"{path} is not an npz of plain arrays ({error}): give the file of quantised weights"
        ) from error
    state = {}
    for name, value in stored.items():
        if name.endswith("__q"):
            name = name.removesuffix("__q")
            if f"{name}__scale" not in stored:
                raise UserError(f"{path}: {name}__q has no {name}__scale beside it: the file is not whole")
            scale = stored[f"{name}__scale"].astype(np.float32)
            if scale.ndim < value.ndim:
                scale = scale.reshape(scale.shape + (1,) * (value.ndim - scale.ndim))
            value = value.astype(np.float32) * scale
        elif name.endswith("__scale"):
            continue
        state[name] = torch.from_numpy(np.array(value))
    return state


def find_state(content: Any, source: str = "the checkpoint") -> dict[str, Tensor]:
    """The state dict inside what a file held, without the prefixes of wrappers; UserError if there is none."""
    if isinstance(content, Mapping):
        content = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
    tensors = isinstance(content, Mapping) and {
        name: value for name, value in content.items() if torch.is_tensor(value)
    }
    if not tensors or len(tensors) < len(content):
        keys = (
            ", ".join(str(key) for key in list(content)[:5]) if isinstance(content, Mapping) else type(content).__name__
        )
        raise UserError(
            f"{source} holds no state dict (it holds: {keys}): looked for {', '.join(_WRAPPERS)} or a bare one"
        )
    while all(name.startswith(_PREFIXES) for name in tensors):
        tensors = {name.split(".", 1)[1]: tensor for name, tensor in tensors.items()}
    return tensors


def _size(state: State, name: str, dimension: int) -> int | None:
    tensor = state.get(name)
    return None if tensor is None or tensor.dim() <= dimension else tensor.shape[dimension]


def _shows(state: State, name: str, shape: tuple[int | None, ...]) -> bool:
    tensor = state.get(name)
    if tensor is None or tensor.dim() != len(shape):
        return False
    return all(wanted in (None, size) for wanted, size in zip(shape, tensor.shape, strict=True))


def _resolve_aliases(state: State, layout: Layout, model: nn.Module) -> dict[str, Tensor]:
    """One value an entry: the one in force, under the names that our model has."""
    state, own = dict(state), model.state_dict().keys()
    for alias, name in layout.aliases:
        for entry in [entry for entry in state if entry.startswith(alias)]:
            value = state.pop(entry)
            state.setdefault(name + entry.removeprefix(alias), value)
        for entry in [entry for entry in own if entry.startswith(alias)]:
            if (real := name + entry.removeprefix(alias)) in state:
                state[entry] = state[real]
    return state
