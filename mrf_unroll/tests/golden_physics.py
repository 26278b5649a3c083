"""Adapters of the golden cases for physics, dictionaries and operators (see ``test_golden``)."""

import math
import re

import numpy as np
import torch

from mrf_unroll import (
    Dictionary,
    Sequence,
    SubspaceOperator,
    ToeplitzNormal,
    fisp_signal,
    gridded_spiral_masks,
    jiang_like_fa,
    ramp,
)
from mrf_unroll.dictionary import tissue_grid
from mrf_unroll.nufft import Nufft


def _value(case, given):
    """A number as it is; ``"array tr"``: the stored array of that name."""
    if isinstance(given, str):
        return case.stored[given.removeprefix("array ").strip()].astype(np.float64)
    return given if np.isscalar(given) or given is None else np.asarray(given, dtype=np.float64)


def _flips(case, num_pulses):
    """Flip angles from a case's words: a generator by name, a sine in n, a stored array, or numbers."""
    given = case.config["flip_angles"]
    if not isinstance(given, str):
        return np.broadcast_to(np.asarray(given, dtype=np.float64), num_pulses)
    if given.startswith("jiang_like_fa"):
        return jiang_like_fa(num_pulses)
    if given.startswith("ramp"):
        bounds = [float(number) for number in re.findall(r"-?[\d.]+", given.partition("(")[2])[1:]]
        return ramp(num_pulses, *bounds)
    if given.startswith("array"):
        return _value(case, given)
    base, height, offset, length = re.fullmatch(
        r"([\d.]+) \+ ([\d.]+) sin\(pi \(n\+([\d.]+)\)/([\d.]+)\)", given
    ).groups()
    n = np.arange(num_pulses)
    return float(base) + float(height) * np.sin(math.pi * (n + float(offset)) / float(length))


def _sequence(case, num_pulses):
    config = case.config
    inversion = str(config.get("inversion", "ideal"))
    efficiency = re.search(r"efficiency (?:= ?)?([\d.]+)", inversion)
    return Sequence.of(
        _flips(case, num_pulses),
        _value(case, config["tr_ms"]),
        _value(case, config["te_ms"]),
        None if inversion.startswith("no") else _value(case, config.get("ti_ms")),
        _value(case, config.get("rf_phase", 0)),
        float(efficiency[1]) if efficiency else 1.0,
    )


def _states(case, num_pulses):
    given = case.config.get("n_states", "untruncated")
    return num_pulses + 1 if given == "untruncated" else given


def run_epg(case):
    num_pulses = case.spec["outputs"]["signal"][1]
    atoms = torch.from_numpy(case.stored["atoms_ms"]).double()
    signal = fisp_signal(
        atoms[:, 0],
        atoms[:, 1],
        _sequence(case, num_pulses),
        b1=torch.as_tensor(_value(case, case.config.get("b1", 1.0))).double(),
        n_states=_states(case, num_pulses),
    )
    return {"signal": torch.view_as_real(signal)}


def run_dictionary(case):
    config = case.config
    lut_ms = tissue_grid(config["T1_ms"], config["T2_ms"])
    dictionary = Dictionary.build(_sequence(case, config["N"]), lut_ms, config["s"], _states(case, config["N"]))
    count = case.spec["outputs"]["gram_compressed"][0]
    atoms = dictionary.atoms.double()
    return {
        "singular_values": dictionary.singular_values,
        "projector": dictionary.basis @ dictionary.basis.T,
        "gram_compressed": atoms[:count] @ atoms[:count].T,
        "norm_compressed": dictionary.norm,
        "energy": [dictionary.energy],
    }


def run_matching(case):
    atoms, lut_ms = (torch.from_numpy(case.stored[name]) for name in ("dictionary", "lut_ms"))
    atoms = torch.view_as_complex(atoms) if atoms.ndim == 3 else atoms
    x = torch.from_numpy(case.stored["x"])
    x = torch.view_as_complex(x) if x.ndim == 3 else x
    sequence = Sequence.of(ramp(atoms.shape[1]))
    identity = torch.eye(atoms.shape[1], dtype=torch.float64)
    dictionary = Dictionary(identity, atoms, lut_ms.double(), torch.ones(atoms.shape[1]), 1.0, sequence)
    found = dictionary.match(x.T)
    # Where two atoms fit equally well either may be named, and what follows from it.
    tied = case.stored["gap"] < 1e-5
    outputs = {
        "index": found.index,
        "t1t2_ms": torch.stack([found.t1_ms, found.t2_ms], dim=1),
        "pd": torch.view_as_real(found.pd + 0j) if len(case.spec["outputs"]["pd"]) == 2 else found.pd,
        "gap": _margins(x, atoms),
    }
    free = {"index": tied, "t1t2_ms": np.repeat(tied[:, None], 2, axis=1)}
    if outputs["pd"].ndim == 2:
        free["pd"] = free["t1t2_ms"]
    return outputs, {"exempt": free, "tolerances": {"index": 0}}


def _margins(x, atoms):
    """How far the best atom is before the second, relative; what decides whether a tie excuses another index."""
    kind = torch.complex128
    unit = torch.nn.functional.normalize(atoms.to(kind), dim=1)
    best = (x.to(kind) @ unit.mH).abs().topk(2, dim=1).values
    return (best[:, 0] - best[:, 1]) / best[:, 0]


def run_nufft(case):
    inputs = {name: torch.from_numpy(value) for name, value in case.inputs().items()}
    transform = Nufft(inputs["k"], (case.config["H"], case.config["W"]))
    y = transform.forward(torch.complex(inputs["re"], inputs["im"]))
    return {"y": torch.view_as_real(y), "adjoint_of_y": torch.view_as_real(transform.adjoint(y))}


def run_subspace_operator(case):
    inputs = {name: torch.from_numpy(value) for name, value in case.inputs().items()}
    stored = {name: torch.from_numpy(value) for name, value in case.stored.items()}
    basis = torch.view_as_complex(stored["V"]) if stored["V"].ndim == 3 else stored["V"]
    weights = case.config.get("weights")
    known = {**inputs, **stored}
    names = (str(weights).removeprefix("array ").strip(), "w", "dcf", "weights")
    dcf = None if weights is None else next(known[name] for name in names if name in known)
    operator = SubspaceOperator(
        stored["traj"], basis, (case.config["H"], case.config["W"]), torch.view_as_complex(stored["maps"]), dcf
    )
    toeplitz = ToeplitzNormal.from_operator(operator)
    x = torch.complex(inputs["re"], inputs["im"])[None]
    explicit, fast = operator.normal(x), toeplitz(x)
    assert torch.linalg.vector_norm(explicit - fast) < 1e-4 * torch.linalg.vector_norm(explicit)
    return {
        "y": torch.view_as_real(operator(x)[0]),
        "normal": torch.view_as_real(fast[0]),
        "kernel": torch.view_as_real(toeplitz.offset_kernels()),
    }


def run_masks(case):
    config = case.config
    masks = gridded_spiral_masks(config["N"], config["samples"], config["frames"], config["step_deg"])
    flat = masks.flatten(1).numpy()
    return {"masks": np.packbits(flat, axis=1), "count": flat.sum(axis=1)}


ADAPTERS = {
    "EPG-FISP": run_epg,
    "dictionary compression": run_dictionary,
    "dictionary matching": run_matching,
    "NUFFT forward/adjoint": run_nufft,
    "A, A^H W A and subspace Toeplitz kernel": run_subspace_operator,
    "gridded spiral masks": run_masks,
}
