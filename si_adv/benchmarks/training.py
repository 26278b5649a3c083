"""A training step of three victims, with the statistics of their norms from moments, beside the stored layers.

    OMP_NUM_THREADS=1 python benchmarks/training.py

Same weights and clouds, dropout off, CPU time of one thread, both sides in turn, best of the repeats.
"""

import copy
import sys
import time

from shared_utils import cli


def training(victims: str = "dgcnn,pointnet2_ssg,pointnet", clouds: int = 8, repeats: int = 3) -> None:
    """Print CPU seconds a step and the largest difference of the outputs.

    Args:
        victims: names with commas between.
        clouds: in a batch.
        repeats: of which the fastest counts.
    """
    import torch

    from shared_utils import lists
    from si_adv.models import build_victim

    torch.set_num_threads(1)
    for victim in lists.names(victims):
        torch.manual_seed(0)
        ours = build_victim(victim, 10).train()
        for module in ours.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        stored = copy.deepcopy(ours)
        for module in stored.modules():
            module.register_forward_hook(lambda *_: None)  # layers with hooks run one after the other
        for points in (256, 1024):
            x, best, outputs = torch.rand(clouds, 3, points) - 0.5, {}, {}
            for _ in range(repeats):
                for name, model in (("ours", ours), ("stored", stored)):
                    begin = time.process_time()
                    outputs[name] = model(x)
                    outputs[name].square().mean().backward()
                    best[name] = min(best.get(name, torch.inf), time.process_time() - begin)
            ratio = best["stored"] / best["ours"]
            apart = (outputs["ours"] - outputs["stored"]).detach().abs().max()
            print(
                f"{victim}, {points} points: stored layers {best['stored'] / clouds:.4f} s a cloud, ours "
                f"{best['ours'] / clouds:.4f} s, {ratio:.1f}x; outputs at most {apart:.1e} apart",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(cli.run(training))
