"""Which atom fits a signal best, exactly and in bounded memory; and the step from that atom off the grid."""

from __future__ import annotations

import torch

# Atoms in a group: fewer make more bounds to compute, more make bounds that exclude less.
_LEAF = 512


class AtomSearch:
    """argmax over atoms of |<x, d>| / |d|, exactly, without looking at groups of atoms that cannot win.

    Args:
        atoms: (K, s), real or complex.
    """

    def __init__(self, atoms: torch.Tensor) -> None:
        self.unit = atoms / torch.linalg.vector_norm(atoms, dim=1)[:, None]
        self.leaves = self._grouped()

    def _grouped(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Atoms in groups of neighbours: their order, the groups' bounds, unit centres, and cosine and sine of the radii.

        Groups come from halving along the widest direction until they have at most ``_LEAF`` atoms.
        """
        unit = self.unit
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

    def nearest(self, signals: torch.Tensor, max_memory_mb: float = 64.0) -> torch.Tensor:
        """(n,) the best atom of every signal (n, s).

        With u the centre of a group and phi its angular radius, every atom of the group has
        |<x, d>| <= cos(phi) |<x, u>| + sin(phi) sqrt(|x|^2 - |<x, u>|^2) where the centre is further than phi from x.
        """
        order, bounds, centres, cosine, sine = self.leaves
        unit = self.unit[order]
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


class OffGrid:
    """One Gauss-Newton step from a matched atom, by the differences of its neighbours on the grid.

    Args:
        atoms: (K, s).
        lut_ms: (K, 2), T1 and T2 of a grid.
    """

    def __init__(self, atoms: torch.Tensor, lut_ms: torch.Tensor) -> None:
        self.atoms, self.lut_ms = atoms, lut_ms
        self._cells = self._differences()

    def _differences(self) -> tuple[torch.Tensor, ...]:
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

    def refine(
        self, signals: torch.Tensor, found: torch.Tensor, t1_ms: torch.Tensor, t2_ms: torch.Tensor, pd: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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


def _modulus(x: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """|<x, d>|: (n, s), (m, s) -> (n, m) float32."""
    if x.is_complex() and not unit.is_complex():
        return torch.hypot(x.real @ unit.T, x.imag @ unit.T)
    kind = torch.promote_types(x.dtype, unit.dtype)
    return (x.to(kind) @ unit.to(kind).mH).abs()
