"""Dictionaries of fingerprints: the grid of tissues, their simulation, compression by SVD, and matching.

A voxel's compressed signal x matches the atom with the largest |<x, d>| / |d|, <x, d> = sum x conj(d); its proton density
is <x, d> / |d|^2, complex where the object has a phase (Ma 2013; McGivney 2014 for the compression).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mrf_unroll import epg
from mrf_unroll.schedules import Sequence
from shared_utils import UserError

SCHEMA = 1
# Fingerprints simulated at once: 16 384 of 1000 pulses are 131 MB in double precision.
_CHUNK = 16384
# Atoms in a group: fewer make more bounds to compute, more make bounds that exclude less.
_LEAF = 512


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

    t1_ms, t2_ms: float32. pd: proton density, complex where the signals are. index: the atom, int64.
    """

    t1_ms: torch.Tensor
    t2_ms: torch.Tensor
    pd: torch.Tensor
    index: torch.Tensor


@dataclass(frozen=True)
class Dictionary:
    """Compressed fingerprints.

    basis: (N, s) orthonormal columns V, float64 (complex128 where RF phases make the signal complex).
    atoms: (K, s) compressed fingerprints V^H d at M0 = 1, float32 or complex64. lut_ms: (K, 2) T1 and T2.
    singular_values: (s,) of the un-normalised dictionary. energy: the share of its energy that the basis keeps.
    sequence: what was simulated. grid: in words.
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
    ) -> Dictionary:
        """Simulate every pair of ``lut_ms`` (K, 2) and compress to ``rank`` components.

        V comes from the leading eigenvectors of D^H D (N x N, float64; single precision would lose the small ones), each
        with the sign (or phase) that makes its component of the atoms sum to a number >= 0.
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

    # Matching ---------------------------------------------------------------------------------------------------------

    def match(
        self, x: torch.Tensor, method: str = "blocked", refine: bool = False, max_memory_mb: float = 64.0
    ) -> Match:
        """Match compressed signals.

        x: (s, ...) or (B, s, H, W), real or complex. method: ``blocked`` (always exact, memory bounded by
        ``max_memory_mb`` beyond inputs and outputs) or ``kdtree`` (exact, real signals, fast at little noise).
        refine: one Gauss-Newton step of T1, T2 and PD off the grid (in log T1, log T2, at most one cell).
        The work is done on the CPU; results come back to the device of x.
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
        if method == "kdtree":
            found = self._match_kdtree(single)
        elif method == "blocked":
            found = self._match_blocked(single, max_memory_mb)
        else:
            raise ValueError(f"method {method!r}: blocked or kdtree")
        index[filled] = found
        t1_ms, t2_ms = (self.lut_ms[found, column].float() for column in (0, 1))
        chosen = self.atoms[found]
        kind = torch.promote_types(single.dtype, chosen.dtype)
        pd = (single.to(kind) * chosen.conj().to(kind)).sum(dim=1) / self.norm[found] ** 2
        if refine and len(found):
            t1_ms, t2_ms, pd = self._refine(single.to(kind), found, t1_ms, t2_ms, pd)
        fields = []
        for value in (t1_ms, t2_ms, pd):
            whole = torch.zeros(len(voxels), dtype=value.dtype)
            whole[filled] = value
            fields.append(whole.reshape(shape).to(x.device))
        return Match(*fields, index.reshape(shape).to(x.device))

    def _match_kdtree(self, signals: torch.Tensor) -> torch.Tensor:
        from scipy.spatial import cKDTree

        if signals.is_complex() or self.atoms.is_complex():
            raise UserError("the k-d tree serves real signals only: use method='blocked', or take the real part")
        tree = self._tree
        assert isinstance(tree, cKDTree)
        unit = torch.nn.functional.normalize(signals, dim=1).numpy()
        (near, index), (near_minus, index_minus) = tree.query(unit), tree.query(-unit)
        return torch.from_numpy(np.where(near <= near_minus, index, index_minus).astype(np.int64))

    @cached_property
    def _tree(self):
        from scipy.spatial import cKDTree

        return cKDTree((self.atoms / self.norm[:, None]).numpy())

    @cached_property
    def _leaves(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Atoms in groups of neighbours: their order, the groups' bounds, unit centres, and cosine and sine of the radii.

        Groups come from halving along the widest direction until they have at most ``_LEAF`` atoms.
        """
        unit = self.atoms / self.norm[:, None]
        # A global sign or phase is no difference in matching.
        widest = unit[:, unit.abs().sum(dim=0).argmax()]
        unit = unit * torch.where(widest.abs() > 0, widest.conj() / widest.abs().clamp(min=1e-30), 1.0)[:, None]
        real = torch.view_as_real(unit).flatten(1) if unit.is_complex() else unit
        done, pending = [], [torch.arange(len(unit))]
        while pending:
            group = pending.pop()
            if len(group) <= _LEAF:
                done.append(group)
                continue
            points = real[group] - real[group].mean(dim=0)
            axis = torch.linalg.eigh(points.T @ points)[1][:, -1]
            order = torch.argsort(points @ axis)
            half = len(group) // 2
            pending += [group[order[half:]], group[order[:half]]]
        centres = torch.stack([torch.nn.functional.normalize(unit[group].mean(dim=0), dim=0) for group in done])
        cosine = torch.stack(
            [
                (unit[group] @ centre.conj()).abs().min() if len(group) > 1 else torch.tensor(1.0)
                for group, centre in zip(done, centres, strict=True)
            ]
        )
        # Rounding must never make a group look smaller than it is.
        cosine = (cosine - 1e-6).clamp(0, 1)
        bounds = torch.tensor([0, *(len(group) for group in done)]).cumsum(0)
        return torch.cat(done), bounds, centres, cosine, (1 - cosine**2).sqrt()

    def _match_blocked(self, signals: torch.Tensor, max_memory_mb: float) -> torch.Tensor:
        """argmax over atoms of |<x, d>| / |d|, exactly, without looking at groups of atoms that cannot win.

        With u the centre of a group and phi its angular radius, every atom of the group has
        |<x, d>| <= cos(phi) |<x, u>| + sin(phi) sqrt(|x|^2 - |<x, u>|^2) where the centre is further than phi from x.
        """
        order, bounds, centres, cosine, sine = self._leaves
        unit = (self.atoms / self.norm[:, None])[order]
        found = torch.empty(len(signals), dtype=torch.int64)
        # Two fifths of the bound are for eight arrays of voxels by groups, two for four of voxels by atoms of a group, the
        # rest for copies of the signals and for indices.
        share = 0.4 * max_memory_mb * 2**20
        voxels, rows = max(1, int(share / (8 * 4 * len(centres)))), max(1, int(share / (4 * 4 * _LEAF)))
        for start in range(0, len(signals), voxels):
            x = torch.nn.functional.normalize(signals[start : start + voxels], dim=1)
            near = _modulus(x, centres)
            first = near.argmax(dim=1)
            outside = (1 - near.square()).clamp_(min=0).sqrt_()
            possible = torch.where(near >= cosine, 1.0, near * cosine + outside * sine)
            best, place = torch.full((len(x),), -1.0), torch.zeros(len(x), dtype=torch.int64)
            self._visit(x, unit, bounds, first[:, None] == torch.arange(len(centres)), best, place, rows)
            open_groups = possible >= best[:, None] - 1e-6
            open_groups[torch.arange(len(x)), first] = False
            self._visit(x, unit, bounds, open_groups, best, place, rows)
            found[start : start + voxels] = order[place]
        return found

    @staticmethod
    def _visit(x, unit, bounds, wanted, best, place, rows):
        """Let the voxels of each column of ``wanted`` (voxels, groups) look at that group's atoms; update in place."""
        groups, voxels = torch.nonzero(wanted.T, as_tuple=True)
        counts = torch.bincount(groups, minlength=wanted.shape[1]).tolist()
        for group, visitors in enumerate(voxels.split(counts)):
            low, high = int(bounds[group]), int(bounds[group + 1])
            for mine in visitors.split(rows) if len(visitors) else ():
                value, index = _modulus(x[mine], unit[low:high]).max(dim=1)
                better = value > best[mine]
                best[mine[better]] = value[better]
                place[mine[better]] = index[better] + low

    # Refinement -------------------------------------------------------------------------------------------------------

    @cached_property
    def _cells(self) -> tuple[torch.Tensor, ...]:
        """Per atom, the derivatives (K, s) by log T1 and log T2 from its neighbours, and the steps (K,) to them."""
        derivatives, steps = [], []
        for column in (0, 1):
            values, place = torch.unique(self.lut_ms[:, column], return_inverse=True)
            others, line = torch.unique(self.lut_ms[:, 1 - column], return_inverse=True)
            table = torch.full((len(others), len(values) + 2), -1, dtype=torch.int64)
            table[line, place + 1] = torch.arange(len(place))
            own = torch.arange(len(place))
            before, after = table[line, place], table[line, place + 2]
            before, after = torch.where(before < 0, own, before), torch.where(after < 0, own, after)
            logs = self.lut_ms[:, column].log()
            step = (logs[after] - logs[before]).float()
            derivative = (self.atoms[after] - self.atoms[before]) / step.clamp(min=1e-12)[:, None]
            derivatives.append(derivative)
            steps.append(torch.where(step > 0, step / (1 + ((before != own) & (after != own)).float()), 0.0))
        return (*derivatives, *steps)

    def _refine(self, signals, found, t1_ms, t2_ms, pd):
        """min |x - rho e^(i phi) (d + J delta)|^2 over rho, rho delta, with phi the phase of the matched density."""
        by_t1, by_t2, step1, step2 = self._cells
        phase = torch.where(pd.abs() > 0, pd / pd.abs().clamp(min=1e-30), torch.ones_like(pd))
        columns = torch.stack([self.atoms[found], by_t1[found], by_t2[found]], dim=2)
        aligned = signals * phase.conj()[:, None]
        if aligned.is_complex():
            columns = columns.to(aligned.dtype)
            columns, aligned = (torch.cat([value.real, value.imag], dim=1) for value in (columns, aligned))
        # Columns of unit length: the derivatives are much smaller than the atoms.
        scale = torch.linalg.vector_norm(columns, dim=1).double().clamp(min=1e-12)
        columns = columns.double() / scale[:, None]
        gram = columns.mT @ columns + 1e-9 * torch.eye(3, dtype=torch.float64)
        solved = torch.linalg.solve(gram, (columns.mT @ aligned.double()[:, :, None])).squeeze(2) / scale
        rho = solved[:, 0]
        inside = rho > 0
        shift1, shift2 = (
            torch.where(inside, solved[:, column] / rho.clamp(min=1e-30), 0.0).clamp(-step[found], step[found]).float()
            for column, step in ((1, step1.double()), (2, step2.double()))
        )
        density = torch.where(inside, rho.to(pd.dtype if not pd.is_complex() else torch.float32), pd.abs()) * phase
        return t1_ms * shift1.exp(), t2_ms * shift2.exp(), density

    # Files ------------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write ``dict.npz`` (whole or not at all): everything above, with the schedule and its hash."""
        from shared_utils.checkpoint import replacing

        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                schema=SCHEMA,
                basis=self.basis.numpy(),
                atoms=self.atoms.numpy(),
                norm=self.norm.numpy(),
                lut_ms=self.lut_ms.numpy(),
                singular_values=self.singular_values.numpy(),
                energy=self.energy,
                n_states=self.n_states,
                grid=self.grid,
                **sequence_arrays(self.sequence),
            )

    @classmethod
    def load(cls, path: str | Path) -> Dictionary:
        """Read a file of ``save``. Raises UserError for another file, another schema, or a schedule that was altered."""
        from mrf_unroll.files import load_arrays, require

        content = load_arrays(path)
        require(content, path, "basis", "atoms", "lut_ms", "singular_values", fix="make one with dictionary.py")
        if int(content.get("schema", 0)) != SCHEMA:
            raise UserError(f"{path} has schema {content.get('schema')}, this version reads {SCHEMA}: build it again")
        sequence = sequence_from(content, path)
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


def sequence_arrays(sequence: Sequence) -> dict[str, np.ndarray | float | str]:
    """A schedule as the entries that dictionaries and scans store; a missing inversion is ti_ms = nan."""
    return {
        "fa_deg": sequence.fa_deg,
        "tr_ms": sequence.tr_ms,
        "te_ms": sequence.te_ms,
        "ti_ms": np.nan if sequence.ti_ms is None else sequence.ti_ms,
        "phase_deg": sequence.phase_deg,
        "inversion_efficiency": sequence.inversion_efficiency,
        "sequence_sha256": sequence.hash,
    }


def sequence_from(content: dict[str, np.ndarray], source: str | Path) -> Sequence:
    """The schedule of what ``sequence_arrays`` wrote."""
    from mrf_unroll.files import require

    require(content, source, "fa_deg", "tr_ms", "te_ms", fix="add the schedule in degrees and ms")
    ti = float(content.get("ti_ms", np.nan))
    return Sequence.of(
        content["fa_deg"],
        content["tr_ms"],
        content["te_ms"],
        ti if np.isfinite(ti) else None,
        content.get("phase_deg", 0.0),
        float(content.get("inversion_efficiency", 1.0)),
    )


def _modulus(x: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """|<x, d>|: (n, s), (m, s) -> (n, m) float32."""
    if x.is_complex() and not unit.is_complex():
        return torch.hypot(x.real @ unit.T, x.imag @ unit.T)
    kind = torch.promote_types(x.dtype, unit.dtype)
    return (x.to(kind) @ unit.to(kind).mH).abs()
