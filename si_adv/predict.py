"""Classify clouds."""

import sys

from shared_utils import cli


def predict(
    input: str,
    ckpt: str | None = None,
    top: int = 3,
    num_points: int | None = None,
    allow_upsample: bool = False,
    device: str = "auto",
) -> None:
    """Classify a cloud, or every cloud of a folder.

    Args:
        input: a cloud or mesh (.txt .npy .npz .ply .off .obj .pts .xyz), or a folder of them.
        ckpt: the victim; the one that travels with the package where not given.
        top: how many classes to print.
        num_points: points of a cloud; what the victim was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    import torch

    from shared_utils import UserError, distributed
    from si_adv import jobs
    from si_adv.attacks.base import model_output
    from si_adv.data.files import CLOUD_SUFFIXES, read_cloud

    place = distributed.choose_device(device)
    victim = next(iter(jobs.open_victims(ckpt, place).values()))
    path = Path(input)
    files = (
        sorted(file for file in path.rglob("*") if file.suffix.lower() in CLOUD_SUFFIXES) if path.is_dir() else [path]
    )
    if not files:
        raise UserError(f"{path} holds no cloud: known are {', '.join(sorted(CLOUD_SUFFIXES))}")
    for file in files:
        points = torch.as_tensor(read_cloud(file, num_points or victim.num_points, allow_upsample=allow_upsample)[0])
        with torch.no_grad():
            shares = model_output(victim, points[None].to(place)).softmax(1)[0].cpu()
        best = shares.topk(min(top, len(shares)))
        ranked = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        print(f"{file}  " + "  ".join(f"{victim.class_names[number]} {share:.3f}" for share, number in ranked))


def main(argv: list[str] | None = None) -> int:
    return cli.run(predict, argv)


if __name__ == "__main__":
    sys.exit(main())
