"""Dictionaries of fingerprints: the grid of tissues, their simulation, compression by SVD, and matching.

A voxel's compressed signal x matches the atom with the largest |<x, d>| / |d|, <x, d> = sum x conj(d); its proton density
is <x, d> / |d|^2, complex where the object has a phase (Ma 2013; McGivney 2014 for the compression).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mrf_unroll import epg
from mrf_unroll.arrays import load_arrays, require, write_arrays
from mrf_unroll.matching import AtomSearch, OffGrid
from mrf_unroll.sequence import Sequence
from shared_utils import UserError

SCHEMA = 1
# Fingerprints simulated at once: 16 384 of 1000 pulses are 131 MB in double precision.
_CHUNK = 16384


def log_grid(
    num_t1: int,
    num_t2: int,
    t1_ms: tuple[float, float] = (100.0, 4000.0),
    t2_ms: tuple[float, float] = (10.0, 600.0),
) -> torch.Tensor:
    """(K, 2) pairs T1, T2 [ms], logarithmic in each, T1 the outer loop, T2 <= T1 kept."""
    return tissue_grid(np.geomspace(*t1_ms, num_t1), np.geomspace(*t2_ms, num_t2))


def linear_grid() -> torch.Tensor:
    """(K, 2) pairs T1, T2 [ms] of Jiang 2015: T1 20:10:3000 and 3000:200:5000, T2 10:5:300 and 300:50:500, T2 <= T1."""
    t1 = np.concatenate([np.arange(20, 3001, 10), np.arange(3200, 5001, 200)])
    t2 = np.concatenate([np.arange(10, 301, 5), np.arange(350, 501, 50)])
    return tissue_grid(t1, t2)


def named_grid(name: str, t1_ms: tuple[float, float], t2_ms: tuple[float, float]) -> torch.Tensor:
    """(K, 2) of ``"370x370"``, logarithmic steps of T1 and T2 over the ranges, or of ``"jiang"``, ``linear_grid``.

    Raises:
        UserError: for another name.
    """
    steps = re.fullmatch(r"(\d+)x(\d+)", name)
    if steps and int(steps[1]) and int(steps[2]):
        return log_grid(int(steps[1]), int(steps[2]), t1_ms, t2_ms)
    if name != "jiang":
        raise UserError(f"grid {name!r}: give steps of T1 and T2 as 370x370, or jiang")
    return linear_grid()


def tissue_grid(t1_ms: np.ndarray, t2_ms: np.ndarray) -> torch.Tensor:
    """(K, 2) all pairs of the two lists with T2 <= T1, T1 the outer loop."""
    t1, t2 = torch.meshgrid(*(torch.as_tensor(np.asarray(v, dtype=np.float64)) for v in (t1_ms, t2_ms)), indexing="ij")
    pairs = torch.stack([t1.reshape(-1), t2.reshape(-1)], dim=1)
    pairs = pairs[pairs[:, 1] <= pairs[:, 0]]
    if not len(pairs):
        raise UserError("the grid has no pair with T2 <= T1: check its ranges (ms)")
    return pairs


@dataclass(frozen=True)
class Match:
    """What matching found; every field has the spatial shape of what was matched. Zero voxels have zeros and index -1.

    Args:
        t1_ms, t2_ms: float32.
        pd: proton density, complex where the signals are.
        index: the atom, int64.
    """

    t1_ms: torch.Tensor
    t2_ms: torch.Tensor
    pd: torch.Tensor
    index: torch.Tensor


@dataclass(frozen=True)
class Dictionary:
    """Compressed fingerprints.

    Args:
        basis: (N, s) orthonormal columns V, float64 (complex128 where RF phases make the signal complex).
        atoms: (K, s) compressed fingerprints V^H d at M0 = 1, float32 or complex64.
        lut_ms: (K, 2) T1 and T2.
        singular_values: (s,) of the un-normalised dictionary.
        energy: the share of its energy that the basis keeps.
        sequence: what was simulated.
        grid: in words.
    """

    basis: torch.Tensor
    atoms: torch.Tensor
    lut_ms: torch.Tensor
    singular_values: torch.Tensor
    energy: float
    sequence: Sequence
    n_states: str = "auto"
    grid: str = "given"

    @classmethod
    def build(
        cls,
        sequence: Sequence,
        lut_ms: torch.Tensor,
        rank: int = 10,
        n_states: int | str = "auto",
        grid: str = "given",
        progress: bool = False,
        b1: Iterable[float] = (),
    ) -> Dictionary:
        """Simulate every pair of ``lut_ms`` (K, 2) and compress to ``rank`` components.

        V comes from the leading eigenvectors of D^H D (N x N, float64; single precision would lose the small ones), each
        with the sign (or phase) that makes its component of the atoms sum to a number >= 0.

        Args:
            b1: relative transmit fields whose signals the basis shall hold too; the atoms are those of a field of 1.
        """
        lut_ms = torch.as_tensor(lut_ms, dtype=torch.float64)
        num_pulses = len(sequence)
        if not 1 <= rank <= min(num_pulses, len(lut_ms)):
            raise UserError(
                f"rank {rank} is out of range: a dictionary of {len(lut_ms)} atoms and {num_pulses} pulses has ranks 1 to"
                f" {min(num_pulses, len(lut_ms))}"
            )
        simulate = epg.fisp_atoms if sequence.is_real else epg.fisp_signal
        stored, double = (torch.float32, torch.float64) if sequence.is_real else (torch.complex64, torch.complex128)
        signals = torch.empty(len(lut_ms), num_pulses, dtype=stored)
        gram = torch.zeros(num_pulses, num_pulses, dtype=double)
        # By T2, so that a chunk needs few numbers of states.
        chunks = torch.argsort(lut_ms[:, 1]).split(_CHUNK if len(lut_ms) > _CHUNK else len(lut_ms))
        if progress:
            from shared_utils.logging import progress as bar

            chunks = bar(chunks, "simulating")
        with torch.no_grad():
            for chunk in chunks:
                part = simulate(lut_ms[chunk, 0], lut_ms[chunk, 1], sequence, n_states=n_states)
                if not sequence.is_real:
                    part = 1j * part  # the convention of the real form
                gram += part.mH @ part
                signals[chunk] = part.to(stored)
            for field in b1:
                for chunk in chunks:
                    part = simulate(lut_ms[chunk, 0], lut_ms[chunk, 1], sequence, b1=field, n_states=n_states)
                    part = part if sequence.is_real else 1j * part
                    gram += part.mH @ part
            values, vectors = torch.linalg.eigh(gram)
            values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)[:, :rank]
            atoms = torch.cat([part.to(double) @ vectors for part in signals.split(_CHUNK)])
            total = atoms.sum(dim=0)
            turn = torch.where(total.abs() > 0, total.conj() / total.abs(), torch.ones_like(total))
            vectors, atoms = vectors * turn, atoms * turn
        return cls(
            # A time series is X = V x with x = V^H X: the eigenvectors of D^H D belong to its rows, V to columns.
            vectors.conj().resolve_conj().contiguous(),
            atoms.to(stored),
            lut_ms,
            values[:rank].sqrt(),
            float(values[:rank].sum() / values.sum()),
            sequence,
            str(n_states),
            grid,
        )

    def at_b1(self, field: float) -> Dictionary:
        """The same tissues at a relative transmit field, in the same basis."""
        simulate = epg.fisp_atoms if self.sequence.is_real else epg.fisp_signal
        with torch.no_grad():
            signals = simulate(self.lut_ms[:, 0], self.lut_ms[:, 1], self.sequence, b1=field)
            atoms = self.compress(signals if self.sequence.is_real else 1j * signals)
        return replace(self, atoms=atoms.to(self.atoms.dtype))

    @property
    def rank(self) -> int:
        return self.basis.shape[1]

    @property
    def sequence_hash(self) -> str:
        return self.sequence.hash

    @cached_property
    def norm(self) -> torch.Tensor:
        """(K,) norms of the compressed atoms, float32."""
        return torch.linalg.vector_norm(self.atoms, dim=1)

    def compress(self, signals: torch.Tensor) -> torch.Tensor:
        """(..., N) -> (..., s): x = V^H X, of signals in the convention Re(i s) of the atoms."""
        dtype = torch.promote_types(signals.dtype, self.basis.dtype)
        return signals.to(dtype) @ self.basis.conj().to(dtype)

    @cached_property
    def _search(self) -> AtomSearch:
        return AtomSearch(self.atoms)

    @cached_property
    def _off_grid(self) -> OffGrid:
        return OffGrid(self.atoms, self.lut_ms)

    def match(self, x: torch.Tensor, refine: bool = False, max_memory_mb: float = 64.0) -> Match:
        """Match compressed signals, exactly, in memory bounded by ``max_memory_mb`` beyond inputs and outputs.

        The work is done on the CPU; results come back to the device of x.

        Args:
            x: (s, ...) or (B, s, H, W), real or complex.
            refine: one Gauss-Newton step of T1, T2 and PD off the grid (in log T1, log T2, at most one cell).
        """
        batched = x.ndim == 4
        axis = 1 if batched else 0
        if x.shape[axis] != self.rank:
            raise ValueError(f"signals have {x.shape[axis]} components where the dictionary has {self.rank}")
        shape = (x.shape[0], *x.shape[2:]) if batched else x.shape[1:]
        voxels = x.movedim(axis, -1).reshape(-1, self.rank)
        index = torch.full((len(voxels),), -1, dtype=torch.int64)
        filled = torch.nonzero(voxels.abs().amax(dim=1) > 0)[:, 0].cpu()
        signals = voxels[filled.to(voxels.device)].cpu()
        single = signals.to(torch.complex64 if signals.is_complex() else torch.float32)
        found = self._search.nearest(single, max_memory_mb)
        index[filled] = found
        t1_ms, t2_ms = (self.lut_ms[found, column].float() for column in (0, 1))
        chosen = self.atoms[found]
        kind = torch.promote_types(single.dtype, chosen.dtype)
        pd = (single.to(kind) * chosen.conj().to(kind)).sum(dim=1) / self.norm[found] ** 2
        if refine and len(found):
            t1_ms, t2_ms, pd = self._off_grid.refine(single.to(kind), found, t1_ms, t2_ms, pd)

        def spread(value: torch.Tensor) -> torch.Tensor:
            whole = torch.zeros(len(voxels), dtype=value.dtype)
            whole[filled] = value
            return whole.reshape(shape).to(x.device)

        return Match(spread(t1_ms), spread(t2_ms), spread(pd), index.reshape(shape).to(x.device))

    def save(self, path: str | Path) -> None:
        """Write ``dict.npz`` (whole or not at all): everything above, with the schedule and its hash."""
        entries = {
            "schema": SCHEMA,
            "basis": self.basis.numpy(),
            "atoms": self.atoms.numpy(),
            "norm": self.norm.numpy(),
            "lut_ms": self.lut_ms.numpy(),
            "singular_values": self.singular_values.numpy(),
            "energy": self.energy,
            "n_states": self.n_states,
            "grid": self.grid,
            **self.sequence.as_arrays(),
        }
        write_arrays(path, entries)

    @classmethod
    def load(cls, path: str | Path) -> Dictionary:
        """Read a file of ``save``.

        Raises:
            UserError: for another file, another schema, or a schedule that was altered.
        """
        content = load_arrays(path)
        require(content, path, "basis", "atoms", "lut_ms", "singular_values", fix="make one with dictionary.py")
        if int(content.get("schema", 0)) != SCHEMA:
            raise UserError(f"{path} has schema {content.get('schema')}, this version reads {SCHEMA}: build it again")
        sequence = Sequence.from_arrays(content, path)
        if "sequence_sha256" in content and str(content["sequence_sha256"]) != sequence.hash:
            raise UserError(f"{path}: the schedule does not give the stored hash, the file was altered: build it again")
        basis, atoms, lut_ms = (torch.from_numpy(np.array(content[key])) for key in ("basis", "atoms", "lut_ms"))
        if basis.shape != (len(sequence), atoms.shape[1]) or lut_ms.shape != (len(atoms), 2):
            raise UserError(
                f"{path}: basis {tuple(basis.shape)}, atoms {tuple(atoms.shape)} and lut_ms {tuple(lut_ms.shape)} do not"
                f" fit a schedule of {len(sequence)} pulses: build it again"
            )
        return cls(
            basis,
            atoms,
            lut_ms.double(),
            torch.from_numpy(np.array(content["singular_values"])),
            float(content.get("energy", math.nan)),
            sequence,
            str(content.get("n_states", "auto")),
            str(content.get("grid", "given")),
        )
