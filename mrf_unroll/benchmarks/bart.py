"""BART's reconstructions of the same scans, tuned on the same slices, beside ours.

    OMP_NUM_THREADS=1 python benchmarks/bart.py --data reference_map.npz:ms,numerical_brain_cropped.mat

BART (mrirecon.github.io/bart, `apt install bart`) is a program, not a library. ``pics`` solves for the compressed time series
with our basis, trajectory and, where it helps on the tuning slices, density weights; its series are matched to the same
dictionary. Locally low rank and total variation are tuned over their grids on eight training slices, by the mean of T1's and
T2's NRMSE, as every method of `evaluate.py` is. CPU seconds are those of the process, files included.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch

from shared_utils import UserError, cli, lists, logging

# As BART names them, over both axes of the image.
PENALTIES = {"locally low rank": "L:3:3:{lam:g}", "total variation": "T:3:0:{lam:g}"}
LAMS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
WEIGHTED = (False, True)
ITERATIONS = 100


def bart(data: str = "") -> None:
    """Print NRMSE of T1, T2 and PD and CPU seconds a slice, of BART and of ours.

    Args:
        data: files of maps with commas between, beside discs and random slices; file:ms or file:s where the unit is not
            declared.
    """
    from mrf_unroll.data.slices import read_slices
    from mrf_unroll.evaluation.runs import measure
    from mrf_unroll.evaluation.study import PROCEDURAL, build_methods, open_study, tune_methods
    from mrf_unroll.methods import match_maps
    from mrf_unroll.metrics import errors_of_sums, map_sums

    if shutil.which("bart") is None:
        raise UserError("no program bart here: apt install bart")
    torch.set_num_threads(1)
    study = open_study(None)
    protocol, size = study.data.protocol, study.data.protocol.image_size[0]
    sets = {"random slices": study.data.slices["test"], "discs": PROCEDURAL["discs"](size)}
    for name in lists.names(data):
        path, _, unit = name.partition(":")
        sets[Path(path).name] = read_slices(path, size, unit or None, resample=True)

    with tempfile.TemporaryDirectory() as folder:
        scanner = Pics(Path(folder), protocol)

        def errors(slices: Sequence, seeds: Sequence[int], penalty: str, lam: float, weighted: bool) -> tuple:
            sums, seconds = [], 0.0
            for one, seed in zip(slices, seeds, strict=True):
                batch = study.data.measurer.evaluation([one], seed)[0]
                assert batch.kspace is not None
                series, spent = scanner(batch.kspace, penalty.format(lam=lam), weighted)
                maps = match_maps(protocol.dictionary, series)
                sums.append(map_sums(maps, batch.maps, batch.mask))
                seconds += spent
            return errors_of_sums(torch.stack(sums).sum(dim=0)), seconds / len(slices)

        training = study.data.slices["train"][:8]
        seeds = [study.data.seed + 3 + 7919 * place for place in range(len(training))]
        best = {}
        for name, penalty in PENALTIES.items():
            trials = {}
            for lam, weighted in product(LAMS, WEIGHTED):
                found, _ = errors(training, seeds, penalty, lam, weighted)
                trials[lam, weighted] = (found["T1_NRMSE"] + found["T2_NRMSE"]) / 2
            best[name] = min(trials, key=trials.__getitem__)
            print(f"BART, {name}: lam {best[name][0]:g}, {'with' if best[name][1] else 'without'} weights", flush=True)

        names = ("lrtv", "llr", "unrolled")
        study.tuned = tune_methods(study, names)
        methods = build_methods(study, names)
        for title, slices in sets.items():
            rows = []
            # The noise that ``measure`` gives them.
            places = [study.data.seed + 2 + 7919 * place for place in range(len(slices))]
            for name, penalty in PENALTIES.items():
                found, seconds = errors(slices, places, penalty, *best[name])
                rows.append(row(f"BART, {name} + DM", found, seconds))
            records = [measure(study, methods, one, place) for place, one in enumerate(slices)]
            for place, name in enumerate(names):
                own = [record[place] for record in records]
                found = errors_of_sums(torch.stack([record.sums for record in own]).sum(dim=0))
                rows.append(row(f"ours, {name}", found, sum(record.seconds for record in own) / len(own)))
            print(logging.table(rows, f"{title}, {len(slices)} slices:"), flush=True)


def row(method: str, errors: dict, seconds: float) -> dict:
    return {
        "method": method,
        **{f"{name} NRMSE": f"{errors[f'{name}_NRMSE']:.3f}" for name in ("T1", "T2", "PD")},
        "CPU s a slice": f"{seconds:.2f}",
    }


class Pics:
    """`bart pics` for the scans of a protocol; its files lie in ``folder``."""

    def __init__(self, folder: Path, protocol) -> None:
        self.folder, self.protocol = folder, protocol
        frames, samples, _ = protocol.trajectory.shape
        height, width = protocol.image_size
        positions = np.zeros((3, samples, 1, 1, 1, frames))
        for axis, side in enumerate((height, width)):
            positions[axis, :, 0, 0, 0] = side * protocol.trajectory[..., axis].numpy().T
        self.write("trajectory", positions)
        self.write("basis", np.asarray(protocol.dictionary.basis)[None, None, None, None, None])
        maps = protocol.coil_maps if protocol.coil_maps is not None else torch.ones(1, height, width)
        self.write("maps", maps.permute(1, 2, 0)[:, :, None].numpy())
        assert protocol.density is not None
        self.write("weights", protocol.density.sqrt().T.reshape(1, samples, 1, 1, 1, frames).numpy())

    def __call__(self, kspace: torch.Tensor, penalty: str, weighted: bool) -> tuple[torch.Tensor, float]:
        """The real time series (1, s, H, W) of kspace (1, C, N, P), and CPU seconds."""
        self.write("kspace", kspace[0].permute(2, 0, 1)[None, :, None, :, None].numpy())
        command = ["bart", "pics", "-S", "-e", f"-i{ITERATIONS}", "-R", penalty, "-B", "basis", "-t", "trajectory"]
        command += ["-p", "weights"] * weighted + ["kspace", "maps", "series"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        series = torch.from_numpy(self.read("series")).real.permute(2, 0, 1)[None].contiguous()
        return series, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def write(self, name: str, values: np.ndarray) -> None:
        """A .cfl file and its header."""
        (self.folder / f"{name}.hdr").write_text(f"# Dimensions\n{' '.join(map(str, values.shape))}\n")
        values.astype(np.complex64).ravel(order="F").tofile(self.folder / f"{name}.cfl")

    def read(self, name: str) -> np.ndarray:
        shape = [int(side) for side in (self.folder / f"{name}.hdr").read_text().splitlines()[1].split()]
        return np.fromfile(self.folder / f"{name}.cfl", np.complex64).reshape(shape, order="F").squeeze()


if __name__ == "__main__":
    sys.exit(cli.run(bart))
