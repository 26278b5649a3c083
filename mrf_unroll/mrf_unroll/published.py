"""How the files released with PGD-Net and LRTV-MRFResNet are laid out, and how they map onto our modules.

Nothing of a file is run: beside tensors and plain values only numpy's numbers and arrays are read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mrf_unroll.models import BlochDecoder, ResNet, UnrolledNetwork
from mrf_unroll.reconstructor import Reconstructor
from shared_utils import UserError, files
from shared_utils.checkpoint import import_state_dict, load_tensors

log = logging.getLogger(__name__)

# What the published forward pass never runs: further blocks, batch norms at their identity, two left-over layers.
UNUSED = re.compile(r"^(rsb[3-9]\.|rsb\d\.bn[12]\.|conv\.|Conv_1x1\.)")


def read_published(path: str | Path) -> Any:
    """The content of a published ``.pt`` file, with nothing of it run.

    Raises:
        UserError: naming the file, for another kind of file, or one that holds anything but tensors and numbers.
    """
    multiarray = np._core.multiarray  # pyright: ignore[reportAttributeAccessIssue]
    allowed = [np.dtype, np.ndarray, *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?"))]
    for function in (multiarray._reconstruct, multiarray.scalar):
        allowed += [function, (function, f"numpy.core.multiarray.{function.__name__}")]
    with torch.serialization.safe_globals(allowed):
        return load_tensors(path)


@dataclass
class PublishedReport:
    """What an import did with the tensors of the files, by their published names."""

    matched: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} tensors matched"]
        if self.unused:
            layers = dict.fromkeys(name.rpartition(".")[0] for name in self.unused)
            lines.append(f"{len(self.unused)} left out, which the network never runs ({', '.join(layers)})")
        if self.unknown:
            lines.append(f"{len(self.unknown)} unknown: {', '.join(self.unknown)}")
        return "; ".join(lines)


def _shapes(content: Any, count: int = 4) -> str:
    """What a file holds, in words."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    entries = (
        f"{name} {tuple(value.shape) if hasattr(value, 'shape') else ''}".strip() for name, value in content.items()
    )
    return ", ".join(list(entries)[:count]) + (", ..." if len(content) > count else "")


def import_decoder(state: Mapping[str, Tensor], source: str = "the decoder") -> BlochDecoder:
    """A published Bloch decoder (``Conv.0``, ``Conv.2``), frozen.

    Raises:
        UserError: naming the shapes, for anything else.
    """
    expected = "Conv.0.weight (h, 2, 1, 1) and Conv.2.weight (s, h, 1, 1)"
    held = state if isinstance(state, Mapping) else {}
    first, last = held.get("Conv.0.weight"), held.get("Conv.2.weight")
    if first is None or last is None or first.shape[1:] != (2, 1, 1) or last.ndim != 4:
        raise UserError(f"{source} is not a Bloch decoder: expected {expected}, it holds {_shapes(state)}")
    decoder = BlochDecoder(rank=last.shape[0], hidden=first.shape[0])
    import_state_dict(decoder, state, optional=lambda name: name == "scale", source=source)
    return decoder.requires_grad_(False)


def import_encoder(
    state: Mapping[str, Tensor], blocks: int = 2, source: str = "the encoder"
) -> tuple[ResNet, PublishedReport]:
    """A published proximal encoder (``rsb1``, ..., ``mrfnet``); its width is read from the weights.

    Args:
        blocks: how many of the residual blocks are run: the released weights were trained with two, the published
            code has the second commented out.

    Raises:
        UserError: naming the shapes, for anything else.
    """
    state = {re.sub(r"^(module\.)?(transformnet\.)?", "", name): value for name, value in state.items()}
    weights = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    block, head, last = (weights.get(f"{name}.weight") for name in ("rsb1.conv1", "mrfnet.cnn.0", "mrfnet.cnn.4"))
    if block is None or head is None or last is None or {block.ndim, head.ndim, last.ndim} != {4}:
        expected = "rsb1.conv1.weight (h, s, 3, 3), ..., mrfnet.cnn.4.weight (3, h, 1, 1)"
        raise UserError(f"{source} is not an encoder of PGD-Net: expected {expected}, it holds {_shapes(state)}")
    encoder = ResNet(block.shape[1], last.shape[0], block.shape[0], blocks, head.shape[0])
    report = PublishedReport()
    used = {}
    for name, value in state.items():
        if name in encoder.state_dict():
            used[name] = value
        elif UNUSED.match(name) or re.match(rf"^rsb[{blocks + 1}-9]\.", name):
            report.unused.append(name)
        else:
            report.unknown.append(name)
    report.matched = import_state_dict(encoder, used, source=source).matched
    if report.unknown:
        log.warning("%s: tensors of unknown use, left out: %s", source, ", ".join(report.unknown))
    return encoder, report


def looks_published(content: Mapping[str, Any]) -> bool:
    """Whether the content of a file is laid out as PGD-Net saves a network."""
    names = content.get("net_state_dict", content)
    return isinstance(names, Mapping) and any(re.search(r"(^|\.)(rsb1|mrfnet)\.", str(name)) for name in names)


def import_published(
    network: str | Path | Mapping[str, Any],
    decoder: str | Path | Mapping[str, Tensor] | None = None,
    alpha: Sequence[float] | None = None,
    blocks: int = 2,
    source: str = "the network",
) -> tuple[UnrolledNetwork, PublishedReport]:
    """A released PGD-Net with its Bloch decoder, as an ``UnrolledNetwork`` with the published step rule.

    Args:
        network: a ``PGD_NET_*.pt`` file, its content, or a state dict.
        decoder: a ``miccai_bloch_gen_*.pt`` file or its content; not needed where the state dict itself holds one,
            under ``bloch.``.
        alpha: one number an iteration; that of the file where not given.
        blocks: see ``import_encoder``.
        source: what a content without a file is called in errors.

    Raises:
        UserError: naming what is there and what was expected, for other files and for two that do not fit together.
    """
    source = str(network) if isinstance(network, str | Path) else source
    content = read_published(network) if isinstance(network, str | Path) else network
    if not isinstance(content, Mapping):
        raise UserError(f"{source} is not a state dict but a {type(content).__name__}")
    state = dict(content.get("net_state_dict", content))
    own = {name.removeprefix("bloch."): state.pop(name) for name in list(state) if name.startswith("bloch.")}
    decoder_source = str(decoder) if isinstance(decoder, str | Path) else "the decoder"
    encoder, report = import_encoder(state, blocks, source)
    if alpha is None:
        alpha = content.get("alpha")
    if alpha is None:
        raise UserError(f"{source} has no alpha (the T step parameters, stored beside net_state_dict): give --alpha")
    if decoder is None and not own:
        raise UserError(
            f"{source} has no Bloch decoder: import it with import_checkpoint.py, with the miccai_bloch_gen_*.pt file as"
            " --bloch"
        )
    bloch = import_decoder(
        read_published(decoder) if isinstance(decoder, str | Path) else decoder or own, decoder_source
    )
    channels = encoder.rsb1.conv1.weight.shape
    if channels[1] != bloch.rank:
        raise UserError(
            f"{source} and {decoder_source} do not fit together: rsb1.conv1.weight {tuple(channels)} takes {channels[1]}"
            f" components, Conv.2.weight {tuple(bloch.state_dict()['Conv.2.weight'].shape)} makes {bloch.rank}"
        )
    report.matched += [f"bloch.{name}" for name in bloch.state_dict() if name != "scale"]
    steps = np.asarray(alpha, dtype=np.float64).reshape(-1).tolist()
    return UnrolledNetwork(encoder, bloch, len(steps), "relu_plus_one", steps), report


class PublishedSubspace(NamedTuple):
    """What ``MRFResnet_AE.mat`` (LRTV-MRFResNet) holds beside its networks.

    Args:
        basis: (N, s), V.
        norm: (K,), of the dictionary's atoms.
        scale_s: (2,), by which T1 and T2 [s] were divided.
        mean, deviation: (s,), z-score of the unit-norm time series that the network takes.
    """

    basis: np.ndarray
    norm: np.ndarray
    scale_s: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def read_mrfresnet(path: str | Path) -> PublishedSubspace:
    """The subspace and normalisation of ``MRFResnet_AE.mat``.

    Raises:
        UserError: for a file that is not laid out like it.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, struct_as_record=False, squeeze_me=True)
    except (MatReadError, ValueError, NotImplementedError, TypeError) as error:
        raise UserError(
            f"{path} is not a MATLAB file that can be read here ({error}): expected MRFResnet_AE.mat"
        ) from None
    network = content.get("nn")
    fields = ("V", "normD", "scale", "tr_mu", "sigma")
    missing = [name for name in fields if not hasattr(network, name)]
    if network is None or missing:
        held = ", ".join(name for name in content if not name.startswith("__"))
        raise UserError(
            f"{path} is not laid out like MRFResnet_AE.mat: expected nn.{', nn.'.join(fields)}; it holds {held}"
        )
    basis = np.asarray(network.V)
    subspace = PublishedSubspace(
        basis, *(np.asarray(getattr(network, name), np.float64).reshape(-1) for name in fields[1:])
    )
    if basis.ndim != 2 or len(subspace.mean) != basis.shape[1] or len(subspace.deviation) != basis.shape[1]:
        raise UserError(f"{path}: V {basis.shape} and tr_mu {subspace.mean.shape} disagree on the number of components")
    return subspace


def write_subspace(subspace: PublishedSubspace, path: str | Path) -> None:
    """``subspace.npz``: the arrays of ``PublishedSubspace`` by their names, whole or not at all."""
    with files.replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **subspace._asdict())


def as_reconstructor(network: UnrolledNetwork) -> Reconstructor:
    """A released network as a ``Reconstructor`` without basis and schedule: to save, to export, to begin training from."""
    encoder = network.encoder
    assert isinstance(encoder, ResNet)
    options = {
        "name": "resnet",
        "hidden": encoder.rsb1.conv1.out_channels,
        "blocks": encoder.blocks,
        "head_hidden": encoder.mrfnet.cnn[0].out_channels,
    }
    reconstructor = Reconstructor(
        options, network.decoder.rank, network.decoder.hidden, network.iterations, network.step_rule
    )
    reconstructor.network.load_state_dict(network.state_dict())
    return reconstructor.eval()


def published_content(reconstructor: Reconstructor) -> dict[str, object]:
    """What PGD-Net's code saves: ``alpha`` (T,) and ``net_state_dict``; the decoder, which it keeps apart, under ``bloch.``."""
    network = reconstructor.network
    if not isinstance(network.encoder, ResNet) or network.complex_valued or network.step_rule != "relu_plus_one":
        raise UserError(
            "only the published network (encoder resnet, real time series, step_rule relu_plus_one) has a published form:"
            " use --to pretrained"
        )
    if float(network.decoder.scale) != 1:
        raise UserError(
            "the decoder has a scale of its own, which the published code does not know: use --to pretrained"
        )
    state = {f"transformnet.{name}": value for name, value in network.encoder.state_dict().items()}
    state |= {f"bloch.{name}": value for name, value in network.decoder.state_dict().items() if name != "scale"}
    return {"alpha": network.alpha.detach().clone(), "net_state_dict": state}
