"""CPU time and accuracy of transforms, normal operator, dictionary and matching, beside the libraries that do the same.

    OMP_NUM_THREADS=1 python benchmarks/speed.py
    OMP_NUM_THREADS=1 python benchmarks/speed.py --what toeplitz

One process, one thread, the same inputs; process time after a warm-up call, medians (slow peers once). A peer that is not
installed is named and left out: `pip install finufft torchkbnufft mrpro`. A slow peer is timed on a part of its outermost
loop, as its row says (one coil of eight, a tenth of the frames, a twentieth of the voxels), and multiplied; ``--full``
times all of it.
"""

import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shared_utils import UserError, cli, files, logging


def speed(what: str = "all", full: bool = False, out: str | None = None, overwrite: bool = False) -> None:
    """Print a table a job: CPU seconds, ratio to ours, error beside it.

    Args:
        what: nufft, toeplitz, gram, dict, match or all.
        full: time the peers in full, which takes minutes, instead of on a part.
        out: write the rows as JSON too.
        overwrite: replace an existing file.
    """
    import torch

    if what != "all" and what not in JOBS:
        raise UserError(f"what {what!r}: one of all, {', '.join(JOBS)}")
    if out is not None:
        files.refuse_existing(out, overwrite)
    torch.set_num_threads(1)
    tables = {job: compare(full) for job, compare in JOBS.items() if what in ("all", job)}
    for job, (title, rows) in tables.items():
        print(f"{logging.table(rows, f'{job}: {title}')}\n")
    if out is not None:
        files.write_json({job: {"title": title, "rows": rows} for job, (title, rows) in tables.items()}, out)


def cpu_seconds(function: Callable[[], object], repeats: int = 5, warm: bool = True) -> tuple[float, object]:
    """(median process time, result)."""
    found = function() if warm else None
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        found = function()
        spent.append(time.process_time() - start)
    return statistics.median(spent), found


def row(method: str, seconds: float, ours: float, error: float | None, **others: object) -> dict:
    return {
        "method": method,
        "CPU s": f"{seconds:.3g}",
        "ours is": f"{seconds / ours:.1f}x as fast" if seconds != ours else "-",
        "relative error": "-" if error is None else f"{error:.1e}",
        **others,
    }


def absent(name: str) -> dict:
    return {"method": f"{name} (not installed)", "CPU s": "-", "ours is": "-", "relative error": "-"}


def relative(found: object, expected: object) -> float:
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def spiral_scan(size: int, frames: int, samples: int, rank: int, coils: int):
    """Trajectory, real basis of a FISP dictionary, coil maps, and a random complex TSMI."""
    import torch

    from mrf_unroll.coils import gaussian_ring_maps
    from mrf_unroll.dictionary import Dictionary, log_grid
    from mrf_unroll.schedules import jiang_like_fa
    from mrf_unroll.sequence import Sequence
    from mrf_unroll.trajectory import golden_spiral

    basis = Dictionary.build(Sequence.of(jiang_like_fa(frames)), log_grid(12, 12), rank, n_states=20).basis
    x = torch.randn(rank, size, size, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    return golden_spiral(frames, samples, 24), basis, gaussian_ring_maps(coils, size, size), x


# NUFFT --------------------------------------------------------------------------------------------------------------------


def compare_nufft(full: bool) -> tuple[str, list[dict]]:
    """Ten images of 200 x 200, types 2 and 1."""
    import torch

    from mrf_unroll.nufft import Nufft

    count, size, images = (1_000_000 if full else 100_000), 200, 10
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, 2, generator=generator) - 0.5
    x = torch.randn(images, size, size, dtype=torch.complex64, generator=generator)
    y = torch.randn(images, count, dtype=torch.complex64, generator=generator)
    # The direct sum at some samples, and at some pixels, in double precision.
    axis = torch.arange(size) - size // 2
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2).double()
    few = torch.randperm(count, generator=generator)[:200]
    pixels = torch.randperm(len(grid), generator=generator)[:50]
    matrix = torch.exp(-2j * torch.pi * (points[few].double() @ grid.T)) / size
    truth2 = x.reshape(images, -1).to(torch.complex128) @ matrix.T
    back = torch.exp(2j * torch.pi * (points.double() @ grid[pixels].T)) / size
    truth1 = y.to(torch.complex128) @ back

    def errors(forward, adjoint):
        return max(relative(forward[:, few], truth2), relative(adjoint.reshape(images, -1)[:, pixels], truth1))

    transform = Nufft(points, (size, size))
    forward_s, forward = cpu_seconds(lambda: transform.forward(x), 3)
    adjoint_s, adjoint = cpu_seconds(lambda: transform.adjoint(y), 3)
    ours = forward_s + adjoint_s
    rows = [row("ours, torch", ours, ours, errors(forward, adjoint))]
    try:
        import finufft

        ky, kx = (2 * np.pi * points.numpy().T.astype(np.float32)).copy()
        for eps in (1e-4, 1e-6):
            options = {"eps": eps, "nthreads": 1}
            a, forward = cpu_seconds(lambda o=options: finufft.nufft2d2(ky, kx, x.numpy(), isign=-1, **o), 3)
            b, adjoint = cpu_seconds(
                lambda o=options: finufft.nufft2d1(ky, kx, y.numpy(), (size, size), isign=1, **o), 3
            )
            error = errors(torch.from_numpy(forward) / size, torch.from_numpy(adjoint) / size)
            rows.append(row(f"finufft, eps {eps:g}", a + b, ours, error))
    except ImportError:
        rows.append(absent("finufft"))
    try:
        import torchkbnufft

        omega = (2 * np.pi * points.T).contiguous()
        there = torchkbnufft.KbNufft((size, size))
        home = torchkbnufft.KbNufftAdjoint((size, size))
        a, forward = cpu_seconds(lambda: there(x[None], omega), 1, warm=False)
        b, adjoint = cpu_seconds(lambda: home(y[None], omega), 1, warm=False)
        rows.append(row("torchkbnufft", a + b, ours, errors(forward[0] / size, adjoint[0] / size)))
    except ImportError:
        rows.append(absent("torchkbnufft"))
    return f"types 2 and 1 of {images} images {size} x {size}, {count} samples, against the direct sum", rows


# The normal operator --------------------------------------------------------------------------------------------------------


def compare_toeplitz(full: bool) -> tuple[str, list[dict]]:
    """A^H A x of the subspace model: kernels against transforms of all samples, coil by coil and component by component."""
    import torch

    from mrf_unroll.operators import SubspaceOperator, ToeplitzNormal

    size, frames, samples, rank, coils = 200, 1000, 1000, 10, 8
    trajectory, basis, maps, x = spiral_scan(size, frames, samples, rank, coils)
    operator = SubspaceOperator(trajectory, basis, (size, size), maps)
    build, toeplitz = cpu_seconds(lambda: ToeplitzNormal.from_operator(operator), 1, warm=False)
    ours, found = cpu_seconds(lambda: toeplitz(x[None])[0])
    points, per_sample = trajectory.reshape(-1, 2), basis.repeat_interleave(samples, dim=0).T
    timed, shots = (maps, frames) if full else (maps[:1], frames // 10)
    part = "" if full else ", 1 coil of 8"
    few = found if full else toeplitz.with_coil_maps(timed)(x[None])[0]

    def by_component(forward, adjoint, kind=torch.complex64):
        """By given transforms of all samples: one of each type for every component and coil."""
        total, weights = torch.zeros_like(x, dtype=kind), per_sample.to(kind)
        for coil in timed.to(kind):
            y = (forward(x.to(kind) * coil) * weights).sum(dim=0)
            total += adjoint(weights * y) * coil.conj()
        return total / size**2

    rows = []
    try:
        import finufft

        def plans(eps, kind, count, transforms):
            made = [
                finufft.Plan(which, (size, size), transforms, eps=eps, isign=sign, dtype=kind, nthreads=1)
                for which, sign in ((2, -1), (1, 1))
            ]
            real = "float32" if kind == "complex64" else "float64"
            for plan in made:
                plan.setpts(*(2 * np.pi * count.numpy().T.astype(real)).copy())
            return [lambda data, plan=plan: torch.from_numpy(plan.execute(data.contiguous().numpy())) for plan in made]

        def by_frame():
            """By transforms of each frame's own samples, all coils at once."""
            total, weights = torch.zeros_like(x), basis.to(x.dtype)
            for frame, shot in enumerate(trajectory[:shots]):
                forward, adjoint = plans(1e-4, "complex64", shot, coils)
                image = torch.einsum("k,khw->hw", weights[frame], x)
                back = (adjoint(forward(maps * image)) * maps.conj()).sum(dim=0)
                total += weights[frame][:, None, None] * back
            return total / size**2

        exact = by_component(*plans(1e-8, "complex128", points, rank), torch.complex128)
        spent, near = cpu_seconds(lambda: by_component(*plans(1e-4, "complex64", points, rank)), 1, warm=False)
        spent *= coils / len(timed)
        rows.append(row(f"finufft, eps 1e-4, by component{part}", spent, ours, relative(near, exact)))
        spent, near = cpu_seconds(by_frame, 1, warm=False)
        name = f"finufft, eps 1e-4, by frame{'' if full else f', {shots} of {frames}'}"
        rows.append(row(name, spent * frames / shots, ours, relative(near, exact) if full else None))
    except ImportError:
        rows.append(absent("finufft"))
        exact = operator.with_coil_maps(timed).normal(x[None].to(torch.complex128))[0]
    try:
        import torchkbnufft

        omega = (2 * np.pi * points.T).contiguous()
        there = torchkbnufft.KbNufft((size, size))
        home = torchkbnufft.KbNufftAdjoint((size, size))
        spent, near = cpu_seconds(
            lambda: by_component(lambda data: there(data[None], omega)[0], lambda data: home(data[None], omega)[0]),
            1,
            warm=False,
        )
        spent *= coils / len(timed)
        rows.append(row(f"torchkbnufft, by component{part}", spent, ours, relative(near, exact)))
    except ImportError:
        rows.append(absent("torchkbnufft"))
    own = row("ours, Toeplitz kernels", ours, ours, relative(few, exact))
    megabytes = toeplitz.kernels.numel() * toeplitz.kernels.element_size() / 2**20
    title = (
        f"A^H A x, {size} x {size}, rank {rank}, {coils} coils, {frames} frames of {samples} samples; kernels built once in"
        f" {build:.1f} CPU s, {megabytes:.0f} MB"
    )
    return title, [own, *rows]


# Dictionary -----------------------------------------------------------------------------------------------------------------


def compare_gram(full: bool) -> tuple[str, list[dict]]:
    """A^H A x by kernels: ours beside mrpro's, which has the same form of it."""
    import torch

    from mrf_unroll.operators import SubspaceOperator, ToeplitzNormal

    size, frames, samples, rank, coils = 128, 200, 500, 5, 4
    trajectory, basis, maps, x = spiral_scan(size, frames, samples, rank, coils)
    operator = SubspaceOperator(trajectory, basis, (size, size), maps)
    build, toeplitz = cpu_seconds(lambda: ToeplitzNormal.from_operator(operator), 1, warm=False)
    ours, found = cpu_seconds(lambda: toeplitz(x[None])[0])
    rows = [row("ours", ours, ours, None, **{"kernels once, CPU s": f"{build:.2g}"})]
    try:
        from mrpro.data import KTrajectory, SpatialDimension
        from mrpro.operators import NonUniformFastFourierOp

        positions = (size * trajectory.float()).reshape(frames, 1, 1, 1, samples, 2)
        shape = SpatialDimension(1, size, size)
        given = KTrajectory(torch.zeros(1, 1, 1, 1, 1), positions[..., 0], positions[..., 1])
        transform = NonUniformFastFourierOp(("y", "x"), shape, shape, given)
        build, gram = cpu_seconds(lambda: transform.toeplitz(subspace=basis.float()), 1, warm=False)
        images = (x[:, None] * maps)[:, :, None]
        spent, near = cpu_seconds(lambda: (gram(images)[0][:, :, 0] * maps.conj()).sum(dim=1))
        rows.append(row("mrpro", spent, ours, relative(near, found), **{"kernels once, CPU s": f"{build:.2g}"}))
    except ImportError:
        rows.append({**absent("mrpro"), "kernels once, CPU s": "-"})
    return f"{size} x {size}, rank {rank}, {coils} coils, {frames} frames x {samples} samples; error against ours", rows


def compare_dict(full: bool) -> tuple[str, list[dict]]:
    """FISP fingerprints of 1000 pulses at equal numbers of configuration states."""
    import torch

    from mrf_unroll.dictionary import log_grid
    from mrf_unroll.epg import fisp_atoms
    from mrf_unroll.schedules import jiang_like_fa
    from mrf_unroll.sequence import Sequence

    sequence = Sequence.of(jiang_like_fa(1000))
    lut = log_grid(100, 100)
    lut = lut[torch.randperm(len(lut), generator=torch.Generator().manual_seed(0))[: 4096 if full else 2048]]
    # mrpro is fastest at about a thousand tissues at once.
    few = lut[:1000]
    rows = []
    for states in (20, 40):
        spent, atoms = cpu_seconds(lambda k=states: fisp_atoms(lut[:, 0], lut[:, 1], sequence, n_states=k), 3)
        ours = spent / len(lut)
        rows.append(rate_row(f"ours, {states} states", ours, ours, None))
        try:
            from mrpro.operators.models.EPG import FispBlock, InversionBlock, Parameters, initial_state

            inversion = InversionBlock(torch.tensor(0.018))
            train = FispBlock(torch.tensor(sequence.fa_deg).deg2rad(), 0.0, torch.tensor(0.002), torch.tensor(0.012))

            def theirs(kind, k=states, inversion=inversion, train=train):
                t1, t2 = (few.T / 1000).to(kind)
                parameters = Parameters(torch.ones_like(t1) + 0j, t1, t2)
                start = initial_state(t1.shape, k, dtype=torch.promote_types(kind, torch.complex64))
                return torch.stack(train(parameters, inversion(parameters, start)[0])[1], dim=1)

            for kind in (torch.float32, torch.float64):
                spent, signals = cpu_seconds(lambda kind=kind: theirs(kind), 1, warm=False)
                error = relative(atoms[: len(few)], (1j * signals).real.double())
                name = f"mrpro, {states} states, {str(kind).removeprefix('torch.')}"
                rows.append(rate_row(name, spent / len(few), ours, error))
        except ImportError:
            rows.append({**absent("mrpro"), "atoms/s": "-"})
    spent, _ = cpu_seconds(lambda: fisp_atoms(lut[:, 0], lut[:, 1], sequence), 1, warm=False)
    few = few[:100]
    exact = fisp_atoms(few[:, 0], few[:, 1], sequence, n_states=1001)
    worst = (fisp_atoms(few[:, 0], few[:, 1], sequence) - exact).abs().amax(dim=1) / exact.abs().amax(dim=1)
    rows.append(rate_row("ours, states by tissue (auto)", spent / len(lut), spent / len(lut), float(worst.max())))
    return "1000 pulses; relative error: mrpro's against ours at equal states, auto's largest against all states", rows


def rate_row(method: str, seconds: float, ours: float, error: float | None) -> dict:
    """Seconds are per atom."""
    return {**row(method, seconds, ours, error), "atoms/s": f"{1 / seconds:.0f}"}


# Matching -------------------------------------------------------------------------------------------------------------------


def compare_match(full: bool) -> tuple[str, list[dict]]:
    """Exact matching of noisy fingerprints, real and complex, with the memory it takes."""
    dictionary, signals = matching_problem()
    voxels = next(iter(signals.values())).shape[1]
    rows = []
    for name, x in signals.items():
        ours, found = cpu_seconds(lambda x=x: dictionary.match(x), 3)
        rows.append(
            match_row(f"ours, {name}", ours, ours, correct(dictionary, x, found.index), peak_memory("ours", name))
        )
        operator = mrpro_matcher(dictionary)
        if operator is None:
            rows.append({**absent("mrpro"), "same as brute force": "-", "extra MB": "-"})
            continue
        part = x if full else x[:, : voxels // 20].contiguous()
        spent, (number,) = cpu_seconds(lambda x=part, operator=operator: operator(x), 1, warm=False)
        spent *= voxels / part.shape[1]
        label = f"mrpro, {name}{'' if full else ', a twentieth'}"
        same = correct(dictionary, part, number.long())
        rows.append(match_row(label, spent, ours, same, peak_memory("mrpro", name)))
    title = f"{voxels} voxels by {len(dictionary.atoms)} atoms, {dictionary.rank} components"
    return title, [{k: v for k, v in one.items() if k != "relative error"} for one in rows]


def matching_problem():
    import torch

    from mrf_unroll.dictionary import Dictionary, log_grid
    from mrf_unroll.schedules import jiang_like_fa
    from mrf_unroll.sequence import Sequence

    steps, voxels = 342, 40_000
    # The number of pulses has no part in matching; the fingerprints' manifold has.
    dictionary = Dictionary.build(Sequence.of(jiang_like_fa(200)), log_grid(steps, steps), 10, n_states=20)
    generator = torch.Generator().manual_seed(0)
    clean = dictionary.atoms[torch.randint(len(dictionary.atoms), (voxels,), generator=generator)]
    scale = torch.linalg.vector_norm(clean, dim=1, keepdim=True) / clean.shape[1] ** 0.5

    def noisy(level, complex_valued):
        noise = torch.randn(*clean.shape, 2, generator=generator)
        phase = torch.polar(torch.ones(voxels, 1), 6.28 * torch.rand(voxels, 1, generator=generator))
        x = (
            clean * phase + level * scale * torch.view_as_complex(noise)
            if complex_valued
            else clean + level * scale * noise[..., 0]
        )
        return x.T.contiguous()

    return dictionary, {
        "real, 2 % noise": noisy(0.02, False),
        "real, 30 % noise": noisy(0.3, False),
        "complex, 30 % noise": noisy(0.3, True),
    }


def mrpro_matcher(dictionary, batch_size: int = 25):
    """mrpro's operator, giving the number of the atom, at its fastest batch of 5 to 500; None where it is absent."""
    import torch

    try:
        from mrpro.operators import DictionaryMatchOp
    except ImportError:
        return None

    operator = DictionaryMatchOp(lambda number: (dictionary.atoms[number.long()].T,), batch_size=batch_size)
    return operator.append(torch.arange(len(dictionary.atoms)).float())


def correct(dictionary, x, index) -> str:
    """The share of the first 500 voxels with the atom of a brute force in double precision, or one as good to 1e-6."""
    import torch

    kind = torch.complex128 if x.is_complex() else torch.float64
    unit = torch.nn.functional.normalize(dictionary.atoms.to(kind), dim=1)
    fits = [
        ((part @ unit.T).abs(), own)
        for part, own in zip(x[:, :500].T.to(kind).split(100), index[:500].split(100), strict=True)
    ]
    good = [value.gather(1, own[:, None])[:, 0] >= (1 - 1e-6) * value.amax(dim=1) for value, own in fits]
    return f"{100 * float(torch.cat(good).double().mean()):.2f} %"


def match_row(method: str, seconds: float, ours: float, same: str, memory: str) -> dict:
    return {**row(method, seconds, ours, None), "same as brute force": same, "extra MB": memory}


def peak_memory(who: str, name: str) -> str:
    """MB that matching takes above what the process holds before it, in a process of its own."""
    arguments = [sys.executable, __file__, "--memory", json.dumps([who, name])]
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return done.stdout.strip()


def print_memory(who: str, name: str) -> None:
    dictionary, signals = matching_problem()
    x = signals[name] if who == "ours" else signals[name][:, :500]
    match = dictionary.match if who == "ours" else mrpro_matcher(dictionary)
    match(x[:, :50])  # whatever is made once
    before = resident_peak(reset=True)
    match(x)
    print(f"{(resident_peak() - before) / 2**20:.0f}")


def resident_peak(reset: bool = False) -> int:
    """Peak resident bytes of this process; ``reset`` (Linux) first gives freed memory back and forgets earlier peaks."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if reset:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])


JOBS = {
    "nufft": compare_nufft,
    "toeplitz": compare_toeplitz,
    "gram": compare_gram,
    "dict": compare_dict,
    "match": compare_match,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print_memory(*json.loads(sys.argv[2]))
    else:
        sys.exit(cli.run(speed))
