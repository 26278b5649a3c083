"""A training step of DGCNN, with the statistics of its norms from moments of the points, beside the stored layers.

    OMP_NUM_THREADS=1 python benchmarks/training.py

Same weights and clouds, dropout off, CPU time of one thread, both sides in turn, best of the repeats.
"""

import copy
import sys
import time

from shared_utils import cli


def training(clouds: int = 8, repeats: int = 3) -> None:
    """Print CPU seconds a step and the largest difference of the logits.

    Args:
        clouds: in a batch.
        repeats: of which the fastest counts.
    """
    import torch

    from si_adv.models.dgcnn import DGCNN

    torch.set_num_threads(1)
    torch.manual_seed(0)
    ours = DGCNN(10, dropout=0.0).train()
    stored = copy.deepcopy(ours)
    for module in stored.modules():
        module.register_forward_hook(lambda *_: None)  # layers with hooks run one after the other
    for points in (256, 1024):
        x, best, logits = torch.randn(clouds, 3, points), {}, {}
        for _ in range(repeats):
            for name, model in (("ours", ours), ("stored", stored)):
                begin = time.process_time()
                logits[name] = model(x)
                logits[name].square().mean().backward()
                best[name] = min(best.get(name, torch.inf), time.process_time() - begin)
        ratio, apart = best["stored"] / best["ours"], (logits["ours"] - logits["stored"]).detach().abs().max()
        print(
            f"{points} points: stored layers {best['stored'] / clouds:.3f} s a cloud, ours {best['ours'] / clouds:.3f} s, "
            f"{ratio:.1f}x; logits at most {apart:.1e} apart"
        )


if __name__ == "__main__":
    sys.exit(cli.run(training))
