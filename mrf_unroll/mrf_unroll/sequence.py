"""``Sequence``: what is played out at every repetition. Flip angles and RF phases in degrees, times in milliseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrf_unroll.arrays import number, numbers, require
from shared_utils import UserError

# Degrees and ms that files round to.
_ROUNDING = 0.01


@dataclass(frozen=True)
class Sequence:
    """An inversion-prepared FISP train of N pulses.

    Args:
        fa_deg, tr_ms, te_ms, phase_deg: (N,) float64.
        ti_ms: time from the inversion to the first pulse, None without one.
        inversion_efficiency: 1 turns all magnetisation over, Z becomes -efficiency Z.

    Raises:
        UserError: for lengths that differ, times that cannot be (TE > TR, negative ones) and values not finite.
    """

    fa_deg: np.ndarray
    tr_ms: np.ndarray
    te_ms: np.ndarray
    ti_ms: float | None
    phase_deg: np.ndarray
    inversion_efficiency: float = 1.0

    def __post_init__(self) -> None:
        for name in ("fa_deg", "tr_ms", "te_ms", "phase_deg"):
            value = np.array(getattr(self, name), dtype=np.float64).reshape(-1)
            if len(value) != len(self.fa_deg):
                raise UserError(
                    f"the schedule's lengths differ: {len(self.fa_deg)} flip angles, {len(value)} of {name}; give one"
                    " value for each pulse, or one for all"
                )
            if not np.isfinite(value).all():
                raise UserError(f"the schedule's {name} has values that are not finite numbers: correct the file")
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        if not len(self.fa_deg):
            raise UserError("the schedule has no pulse")
        for name, least in (("tr_ms", 0.5), ("te_ms", 0.02), ("ti_ms", 0.5)):
            value = np.ravel(0.0 if getattr(self, name) is None else getattr(self, name))
            if 0 < value.max() < least:
                raise UserError(
                    f"the schedule's {name} is {value.max():.3g} ms at most, which looks like seconds: multiply by 1000"
                )
        late = np.flatnonzero(self.te_ms > self.tr_ms)
        if len(late):
            n = late[0]
            raise UserError(
                f"TE is longer than TR at pulse {n} ({self.te_ms[n]:g} > {self.tr_ms[n]:g} ms): check the order of the"
                " files and that both are in ms"
            )
        if (self.tr_ms <= 0).any() or (self.te_ms < 0).any() or (self.ti_ms is not None and self.ti_ms < 0):
            raise UserError("TR must be positive, TE and TI not negative (ms)")
        if not 0 <= self.inversion_efficiency <= 1:
            raise UserError(f"inversion_efficiency must lie in [0, 1], got {self.inversion_efficiency:g}")

    @classmethod
    def of(
        cls,
        fa_deg: np.ndarray,
        tr_ms: np.ndarray | float = 12.0,
        te_ms: np.ndarray | float = 2.0,
        ti_ms: float | None = 18.0,
        phase_deg: np.ndarray | float = 0.0,
        inversion_efficiency: float = 1.0,
    ) -> Sequence:
        """A schedule in which one number stands for all pulses."""
        fa_deg = np.asarray(fa_deg, dtype=np.float64).reshape(-1)
        tr, te, phase = (
            np.full(len(fa_deg), float(np.ravel(value)[0])) if np.size(value) == 1 else np.ravel(value)
            for value in (tr_ms, te_ms, phase_deg)
        )
        return cls(fa_deg, tr, te, None if ti_ms is None else float(ti_ms), phase, float(inversion_efficiency))

    def __len__(self) -> int:
        return len(self.fa_deg)

    @property
    def is_real(self) -> bool:
        """Whether every RF phase is 0 or 180 degrees, so that the signal has one phase throughout."""
        return bool(np.all(np.abs(np.mod(self.phase_deg + 90, 180) - 90) < 1e-9))

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of what determines the signal; equal for equal schedules on every machine."""
        digest = hashlib.sha256()
        for value in (self.fa_deg, self.tr_ms, self.te_ms, self.phase_deg):
            # Rounded, so that a schedule survives being stored in single precision.
            digest.update(np.round(value, 3).astype("<f8").tobytes())
        digest.update(repr((None if self.ti_ms is None else round(self.ti_ms, 3), self.inversion_efficiency)).encode())
        return digest.hexdigest()

    def same_as(self, other: Sequence) -> bool:
        """Whether two schedules differ by rounding at most: 0.01 degrees, 0.01 ms."""
        if len(self) != len(other) or (self.ti_ms is None) != (other.ti_ms is None):
            return False
        turn = np.mod(self.phase_deg - other.phase_deg + 180, 360) - 180
        times = [self.tr_ms - other.tr_ms, self.te_ms - other.te_ms, (self.ti_ms or 0) - (other.ti_ms or 0)]
        largest = max(float(np.abs(value).max()) for value in (self.fa_deg - other.fa_deg, turn, *times))
        return largest <= _ROUNDING and self.inversion_efficiency == other.inversion_efficiency

    def truncated(self, num_pulses: int) -> Sequence:
        """The first ``num_pulses`` pulses."""
        if not 1 <= num_pulses <= len(self):
            raise UserError(f"a schedule of {len(self)} pulses cannot be cut to {num_pulses}")
        fa, tr, te, phase = (value[:num_pulses] for value in (self.fa_deg, self.tr_ms, self.te_ms, self.phase_deg))
        return Sequence(fa, tr, te, self.ti_ms, phase, self.inversion_efficiency)

    def as_arrays(self) -> dict[str, np.ndarray | float | str]:
        """The entries that dictionaries and scans store; a missing inversion is ti_ms = nan."""
        return {
            "fa_deg": self.fa_deg,
            "tr_ms": self.tr_ms,
            "te_ms": self.te_ms,
            "ti_ms": np.nan if self.ti_ms is None else self.ti_ms,
            "phase_deg": self.phase_deg,
            "inversion_efficiency": self.inversion_efficiency,
            "sequence_sha256": self.hash,
        }

    @classmethod
    def from_arrays(cls, content: Mapping[str, np.ndarray], source: str | Path) -> Sequence:
        """The schedule of what ``as_arrays`` wrote.

        Raises:
            UserError: naming ``source``, where an entry is missing.
        """
        require(content, source, "fa_deg", "tr_ms", "te_ms", fix="add the schedule in degrees and ms")
        require(content, source, "ti_ms", fix="add the inversion time in ms, nan where there is no inversion")
        angles, tr, te = (numbers(content, name, source) for name in ("fa_deg", "tr_ms", "te_ms"))
        phase = numbers(content, "phase_deg", source) if "phase_deg" in content else 0.0
        efficiency = number(content, "inversion_efficiency", source) if "inversion_efficiency" in content else 1.0
        ti = number(content, "ti_ms", source)
        if np.isinf(ti):
            raise UserError(f"{source}: ti_ms is {ti}: give ms, or nan where there is no inversion")
        largest = float(np.abs(angles).max(initial=0))
        if 0 < largest <= 2 * np.pi * 1.001:
            raise UserError(
                f"{source}: fa_deg reaches {largest:.3g} only, which looks like radians: multiply by 180 / pi"
            )
        return cls.of(angles, tr, te, None if np.isnan(ti) else ti, phase, efficiency)

    def as_config(self) -> dict[str, Any]:
        """The schedule in plain values, as a network's configuration holds it."""
        arrays = {name: getattr(self, name).tolist() for name in ("fa_deg", "tr_ms", "te_ms", "phase_deg")}
        return {**arrays, "ti_ms": self.ti_ms, "inversion_efficiency": self.inversion_efficiency}

    @classmethod
    def from_config(cls, stored: Mapping[str, Any]) -> Sequence:
        """The schedule of what ``as_config`` gave."""
        return cls(
            ti_ms=stored["ti_ms"],
            inversion_efficiency=stored["inversion_efficiency"],
            **{name: np.asarray(stored[name], dtype=np.float64) for name in ("fa_deg", "tr_ms", "te_ms", "phase_deg")},
        )
