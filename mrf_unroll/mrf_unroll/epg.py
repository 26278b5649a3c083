"""The signal of an inversion-prepared FISP sequence (unbalanced gradient echo) by extended phase graphs.

States F+_k, F-_k, Z_k of every tissue start at equilibrium (Z_0 = 1). Per repetition: RF pulse, relaxation over TE, the
reading s_n = F+_0, relaxation over TR - TE, a shift by one state (Weigel, J Magn Reson Imaging 41:266, 2015). The
inversion is a rotation by pi that B1 does not scale, followed by relaxation over TI.

Where every RF phase is 0 or 180 degrees the signal is purely imaginary and the states have a real form, F+ = -i a and
F- = i b, at half the memory and a third of the work. ``fisp_atoms`` is that real signal, Re(i s).
"""

from __future__ import annotations

import math

import torch

from mrf_unroll.sequence import Sequence

# States times tissues simulated at once: their two buffers then stay in a core's cache.
_BLOCK_STATES = 40960
# Pulses times tissues simulated at once where every tissue has its own B1: their rotations take 75 MB.
_BLOCK_PULSES = 2**20
_TOLERANCE = 1e-4


def fisp_atoms(
    t1_ms: torch.Tensor,
    t2_ms: torch.Tensor,
    sequence: Sequence,
    b1: torch.Tensor | float = 1.0,
    n_states: int | str = "auto",
    tolerance: float = _TOLERANCE,
    fa_deg: torch.Tensor | None = None,
) -> torch.Tensor:
    """Real signals Re(i s) of M0 = 1: (K, N) float64, negative right after an inversion.

    Differentiable in t1_ms, t2_ms, b1 and fa_deg.

    Args:
        t1_ms, t2_ms: (K,), positive.
        b1: relative transmit field, a number or (K,); it scales every flip angle.
        n_states: configuration states kept. ``"auto"`` sorts the tissues by T2 and gives each group as many as keep
            the largest error of a signal under ``tolerance`` of its largest value.
        fa_deg: (N,) flip angles in place of the sequence's, to differentiate by.

    Raises:
        ValueError: for RF phases other than 0 and 180 degrees.
    """
    if not sequence.is_real:
        raise ValueError("a real signal needs RF phases of 0 or 180 degrees: use fisp_signal")
    return _simulate(_real_block, t1_ms, t2_ms, sequence, b1, n_states, tolerance, fa_deg)


def fisp_signal(
    t1_ms: torch.Tensor,
    t2_ms: torch.Tensor,
    sequence: Sequence,
    b1: torch.Tensor | float = 1.0,
    n_states: int | str = "auto",
    tolerance: float = _TOLERANCE,
    fa_deg: torch.Tensor | None = None,
) -> torch.Tensor:
    """Complex signals s_n = F+_0 at TE of M0 = 1: (K, N) complex128, for any RF phases; arguments as ``fisp_atoms``."""
    if sequence.is_real:
        return -1j * fisp_atoms(t1_ms, t2_ms, sequence, b1, n_states, tolerance, fa_deg)
    return _simulate(_complex_block, t1_ms, t2_ms, sequence, b1, n_states, tolerance, fa_deg)


def _simulate(form, t1_ms, t2_ms, sequence, b1, n_states, tolerance, fa_deg=None):
    t1_ms, t2_ms = (torch.as_tensor(value).double().reshape(-1) for value in (t1_ms, t2_ms))
    if t1_ms.shape != t2_ms.shape:
        raise ValueError(f"t1_ms {tuple(t1_ms.shape)} and t2_ms {tuple(t2_ms.shape)} differ")
    if not ((t1_ms > 0).all() and (t2_ms > 0).all()):
        raise ValueError("T1 and T2 must be positive: leave the background out")
    b1 = torch.as_tensor(b1, dtype=torch.float64, device=t1_ms.device)
    fa_deg = torch.tensor(sequence.fa_deg) if fa_deg is None else fa_deg.double()
    if len(fa_deg) != len(sequence):
        raise ValueError(f"{len(fa_deg)} flip angles for a sequence of {len(sequence)} pulses")
    flips = fa_deg.to(t1_ms.device).deg2rad()

    def block(t1, t2, own_b1, states):
        return form(t1, t2, own_b1[..., None] * flips, sequence, states)

    order = torch.argsort(t2_ms.detach())
    signals, places = [], []
    for group, states in _groups(
        block, t1_ms.detach(), t2_ms.detach(), b1.detach(), order, sequence, n_states, tolerance
    ):
        most = _BLOCK_STATES // states if b1.ndim == 0 else min(_BLOCK_STATES // states, _BLOCK_PULSES // len(sequence))
        for part in group.split(max(64, most)):
            own_b1 = b1[part] if b1.ndim else b1
            signals.append(block(t1_ms[part], t2_ms[part], own_b1, states))
            places.append(part)
    if not signals:
        return torch.zeros(0, len(sequence), dtype=torch.float64, device=t1_ms.device)
    return torch.cat(signals)[torch.argsort(torch.cat(places))]


def _groups(block, t1_ms, t2_ms, b1, order, sequence, n_states, tolerance):
    """(indices, number of states) of tissues with like T2, T2 ascending by factors of 1.5."""
    if n_states != "auto":
        if int(n_states) < 1:
            raise ValueError(f"n_states must be at least 1, got {n_states}")
        yield order, min(int(n_states), len(sequence) + 1)
        return
    start, states, sorted_t2 = 0, 8, t2_ms[order].contiguous()
    while start < len(order):
        stop = int(torch.searchsorted(sorted_t2, 1.5 * sorted_t2[start], right=True))
        group = order[start:stop]
        states = _needed_states(block, t1_ms, t2_ms, b1, group, sequence, tolerance, states)
        yield group, states
        start = stop


@torch.no_grad()
def _needed_states(block, t1_ms, t2_ms, b1, group, sequence, tolerance, states):
    """The fewest states (within a factor of 1.25, and not below ``states``) that serve a group.

    A state k reaches the echo again after k more repetitions, so it counts by exp(-2 k TR / T2) at the most; pulses take
    more away, which only a trial shows, on the tissues of the longest T2 and the longest T1, which lose most.
    """
    longest = torch.cat([group[-4:], group[torch.argsort(t1_ms[group])[-4:]]]).unique()
    own_b1 = b1[longest] if b1.ndim else b1
    bound = math.ceil(-math.log(0.01 * tolerance) * float(t2_ms[longest].max()) / (2 * float(sequence.tr_ms.mean())))
    most = max(8, min(len(sequence) + 1, bound))
    if len(group) <= len(longest):
        return most  # a trial would cost more than it saves
    reference = block(t1_ms[longest], t2_ms[longest], own_b1, most)
    peak = reference.abs().amax(dim=1, keepdim=True)
    while states < most:
        tried = block(t1_ms[longest], t2_ms[longest], own_b1, states)
        if float(((tried - reference).abs() / peak).max()) < 0.5 * tolerance:
            return states
        states = math.ceil(1.25 * states)
    return most


def _inverted(sequence, e1):
    """Z_0 when the first pulse comes: the equilibrium, or what an inversion and TI leave of it."""
    if sequence.ti_ms is None:
        return torch.ones_like(e1(0.0))
    recovery = e1(sequence.ti_ms)
    return -sequence.inversion_efficiency * recovery + 1 - recovery


def _real_block(t1, t2, flips, sequence, states):
    """The real recursion, d = a + b: a and b both lose (1 - cos)/2 d and gain sin Z; Z' = cos Z - sin/2 d."""
    cos = flips.cos()
    sin = flips.sin() * torch.tensor(sequence.phase_deg, device=t1.device).deg2rad().cos().round()
    half = (1 - cos) / 2
    one = torch.stack([1 - half, -half, sin], dim=-1)
    two = torch.stack([-half, 1 - half, sin], dim=-1)
    three = torch.stack([-sin / 2, -sin / 2, cos], dim=-1)
    rotations = torch.stack([one, two, three], dim=-2)  # (..., N, 3, 3)
    return _recursion(rotations, torch.float64, t1, t2, sequence, states, lambda first: first)


def _complex_block(t1, t2, flips, sequence, states):
    """The rotation of Weigel 2015 on (F+, F-, Z)."""
    turn = torch.exp(1j * torch.tensor(sequence.phase_deg, device=t1.device).deg2rad())
    cos2, sin2 = (flips / 2).cos() ** 2 + 0j, (flips / 2).sin() ** 2 + 0j
    sin, cos = flips.sin() + 0j, flips.cos() + 0j
    one = torch.stack([cos2, turn**2 * sin2, -1j * turn * sin], dim=-1)
    two = torch.stack([turn.conj() ** 2 * sin2, cos2, 1j * turn.conj() * sin], dim=-1)
    three = torch.stack([-0.5j * turn.conj() * sin, 0.5j * turn * sin, cos], dim=-1)
    rotations = torch.stack([one, two, three], dim=-2)
    return _recursion(rotations, torch.complex128, t1, t2, sequence, states, torch.conj)


def _recursion(rotations, dtype, t1, t2, sequence, states, conjugate):
    """Pulse, relax, read, relax, shift: (K, N). ``conjugate``: what turns F-_1 into F+_0 in the form of the states."""
    differentiable = torch.is_grad_enabled() and any(value.requires_grad for value in (rotations, t1, t2))
    z = _inverted(sequence, lambda time: torch.exp(-time / t1)).to(dtype)
    # Repetitions of one TR share their decays.
    decays = {tr: (torch.exp(-tr / t1), torch.exp(-tr / t2)) for tr in set(sequence.tr_ms.tolist())}
    echoes = {te: torch.exp(-te / t2) for te in set(sequence.te_ms.tolist())}
    pulses = []
    for n, (tr, te) in enumerate(zip(sequence.tr_ms.tolist(), sequence.te_ms.tolist(), strict=True)):
        # Before pulse n no state above n is filled, and none above N - 1 - n is ever read again.
        active = min(n + 1, states, len(sequence) - n)
        pulses.append((active, rotations[..., n, :, :], echoes[te], *decays[tr]))
    run = _differentiable if differentiable else _in_place
    return run(pulses, z, states, conjugate).T


def _in_place(pulses, z, states, conjugate):
    """(N, K): on two buffers, which stay in a core's cache; several times as fast as what autograd can follow."""
    count = len(z)
    old, new = (torch.zeros(3, states, count, dtype=z.dtype, device=z.device) for _ in range(2))
    signal = torch.empty(len(pulses), count, dtype=z.dtype, device=z.device)
    (plus, minus, longitudinal), (new_plus, new_minus, new_z) = old, new
    longitudinal[0] = z
    for n, (active, rotation, echo, e1, e2) in enumerate(pulses):
        if rotation.ndim == 2:
            torch.mm(rotation, old.view(3, -1)[:, : active * count], out=new.view(3, -1)[:, : active * count])
        else:
            for row, target in enumerate(new[:, :active]):
                torch.mul(rotation[:, row, 0], plus[:active], out=target)
                target.addcmul_(rotation[:, row, 1], minus[:active]).addcmul_(
                    rotation[:, row, 2], longitudinal[:active]
                )
        torch.mul(new_plus[0], echo, out=signal[n])
        kept = min(active + 1, states)
        torch.mul(new_plus[: kept - 1], e2, out=plus[1:kept])
        torch.mul(new_minus[1:active], e2, out=minus[: active - 1])
        minus[active - 1].zero_()
        plus[0] = conjugate(minus[0])
        torch.mul(new_z[:active], e1, out=longitudinal[:active])
        longitudinal[0] += 1 - e1
    return signal


def _differentiable(pulses, z, states, conjugate):
    """(N, K): the same without writing over anything."""
    empty = torch.zeros_like(z)[None]
    longitudinal, plus, minus = z[None], empty, empty
    signal = []
    for active, rotation, echo, e1, e2 in pulses:
        old = torch.stack([plus[:active], minus[:active], longitudinal[:active]])
        equation = "ij,jsk->isk" if rotation.ndim == 2 else "kij,jsk->isk"
        new_plus, new_minus, new_z = torch.einsum(equation, rotation, old)
        signal.append(new_plus[0] * echo)
        minus = torch.cat([new_minus[1:] * e2, empty, empty])
        plus = torch.cat([conjugate(minus[:1]), new_plus * e2])[:states]
        longitudinal = torch.cat([new_z[:1] * e1 + (1 - e1), new_z[1:] * e1, empty])
    return torch.stack(signal)
