"""What makes our shape-invariant attack faster than the published algorithm, on the stored victim and clouds.

    OMP_NUM_THREADS=1 python benchmarks/speed.py --golden FOLDER

The published algorithm is written out below as its description says: one cloud at a time, tangent coordinates, gradients
of the weights as well, normals from neighbours and principal components at every step, and all steps whether or not the
cloud is fooled. One effect after the other is then taken away. Interleaved runs in one process, CPU time of one thread,
best of the repeats; ratios are what counts. Peak memory is measured in fresh processes.
"""

import copy
import sys
import time
from dataclasses import dataclass

from shared_utils import cli


@dataclass(frozen=True)
class Variant:
    """The written-out loop, with what it does on top of the shape-invariant step."""

    weight_gradients: bool = True
    all_steps: bool = True
    transform: bool = True


def speed(golden: str = "../../shared/golden/si_adv", clouds: int = 6, steps: int = 50, repeats: int = 3) -> None:
    """Print CPU time relative to the published algorithm, distances relative to its clouds, and peak memory.

    Args:
        golden: folder of the stored victim and clouds; without them the package's victim on embedded clouds.
        clouds: number of clouds, of thirty.
        steps: steps of the attack.
        repeats: repeats, of which the fastest counts.
    """
    import torch
    from published_figures import victim_and_clouds

    from si_adv.attacks import ShapeInvariantIFGM
    from si_adv.metrics import distances

    torch.set_num_threads(1)
    victim, six, labels = victim_and_clouds(golden)
    layers = copy.deepcopy(victim)
    for module in layers.modules():  # layers with hooks run one after the other, unfused, as published
        module.register_forward_hook(lambda *_: None)
    six, labels = six[:clouds], labels[:clouds]
    loops = {
        "published, published layers": lambda: written_out(layers, six, labels, steps, Variant()),
        "published, our PointNet": lambda: written_out(victim, six, labels, steps, Variant()),
        "- weight gradients": lambda: written_out(victim, six, labels, steps, Variant(False)),
        "- steps after success": lambda: written_out(victim, six, labels, steps, Variant(False, False)),
        "- tangent coordinates": lambda: written_out(victim, six, labels, steps, Variant(False, False, False)),
        "ours": lambda: ShapeInvariantIFGM(victim, steps=steps, normal_neighbours=20)(six, labels),
        "ours, four at a time": lambda: ShapeInvariantIFGM(victim, steps=steps, micro_batch=4, normal_neighbours=20)(
            six, labels
        ),
    }
    best, adv = dict.fromkeys(loops, float("inf")), {}
    for _ in range(repeats):
        for name, loop in loops.items():
            begin = time.process_time()
            adv[name] = loop()
            best[name] = min(best[name], time.process_time() - begin)

    normals = torch.nn.functional.normalize(six[..., 3:], dim=-1)
    first, previous = next(iter(loops)), None
    reference = distances(adv[first], six[..., :3], normals)
    columns = ("l2", "chamfer", "hausdorff", "surface")
    print(
        f"{clouds} clouds, {steps} steps    CPU s/cloud   faster  than row above   " + "  ".join(columns) + "  fooled"
    )
    for name, seconds in best.items():
        with torch.no_grad():
            fooled = int((victim(adv[name].transpose(1, 2)).argmax(1) != labels).sum())
        values = distances(adv[name], six[..., :3], normals)
        ratios = "  ".join(f"{float(values[key].mean() / reference[key].mean()):.3f}" for key in columns)
        step = "" if previous is None else f"{previous / seconds:.2f}x"
        print(f"{name:28}{seconds / clouds:9.3f}{best[first] / seconds:8.1f}x{step:>13}    {ratios}  {fooled}/{clouds}")
        previous = seconds

    print("\npeak resident memory of the whole process, 32 clouds of 1024 points, one step:")
    for name, size in {"ours": None, "four at a time": 4, "all 32 at once": 32}.items():
        print(f"{name:28}{_peak_memory(golden, size):7.0f} MiB")


def written_out(model, clouds, labels, steps: int, variant: Variant):
    """The published loop (spec of the shape-invariant attack: step 0.007 sqrt(3 1024), box 0.16), cloud by cloud."""
    import torch

    from si_adv.geometry import estimate_normals, from_tangent, to_tangent

    model.eval().requires_grad_(variant.weight_gradients)
    length = 0.007 * (3 * 1024) ** 0.5
    fooled = []
    for cloud, label in zip(clouds[:, None], labels[:, None], strict=True):
        clean = points = cloud[..., :3]
        normals = torch.nn.functional.normalize(cloud[..., 3:], dim=-1)
        for _ in range(steps):
            if variant.transform:
                coordinates, basis, translation = to_tangent(points, normals)
                coordinates = coordinates.detach().requires_grad_()
                output = model(from_tangent(coordinates, basis, translation).transpose(1, 2))
            else:
                coordinates = points.detach().requires_grad_()
                output = model(coordinates.transpose(1, 2))
            others = output.scatter(1, label[:, None], -torch.inf).amax(1)
            margin = (output.gather(1, label[:, None])[:, 0] - others).clamp_min(0)
            if not variant.all_steps and margin == 0:
                break
            model.zero_grad()
            margin.sum().backward()
            gradient = coordinates.grad
            with torch.no_grad():
                if variant.transform:
                    gradient[..., 2] = 0
                else:
                    gradient = gradient - (gradient * normals).sum(-1, keepdim=True) * normals
                moved = coordinates - length * gradient / (gradient.norm() + 1e-9)
                points = from_tangent(moved, basis, translation) if variant.transform else moved
                points = clean + (points - clean).clamp(-0.16, 0.16)
                normals = estimate_normals(points)
        fooled.append(points)
    model.requires_grad_(False)
    return torch.cat(fooled)


def _peak_memory(golden: str, micro_batch: int | None) -> float:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_attack_32, golden, micro_batch).result()


def _attack_32(golden: str, micro_batch: int | None) -> float:
    """Peak of the resident set of this process during one step on 32 clouds, in MiB (Linux)."""
    from pathlib import Path

    import torch
    from published_figures import victim_and_clouds

    from si_adv.attacks import ShapeInvariantIFGM

    def peak() -> int:
        """KiB, from the kernel's account of the process."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    torch.set_num_threads(1)
    victim, clouds, labels = victim_and_clouds(golden)
    clouds, labels = clouds.repeat(2, 1, 1)[:32], labels.repeat(2)[:32]
    ShapeInvariantIFGM(victim, steps=1)(clouds[:1, :64], labels[:1])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
    ShapeInvariantIFGM(victim, steps=1, micro_batch=micro_batch)(clouds, labels)
    return peak() / 1024


if __name__ == "__main__":
    sys.exit(cli.run(speed))
