"""Classify clouds."""

from shared_utils import cli


def predict(
    clouds: str,
    ckpt: str | None = None,
    top: int = 3,
    num_points: int | None = None,
    allow_upsample: bool = False,
    device: str = "auto",
) -> None:
    """Classify a cloud, or every cloud of a folder.

    Args:
        clouds: a cloud or mesh (.txt .csv .xyz .pts .npy .npz .ply .pcd .off .obj .stl), a folder of them, or an npz of
            attack.py.
        ckpt: the victim; the bundled one where not given.
        top: how many classes to print.
        num_points: points of a cloud; what the victim was trained for where not given.
        allow_upsample: repeat the points of clouds that have too few.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    import torch

    from shared_utils import UserError, distributed
    from si_adv import pretrained
    from si_adv.data.files import CLOUD_SUFFIXES, read_clouds

    path = Path(clouds)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in CLOUD_SUFFIXES)
    if not files:
        raise UserError(f"{path} holds no cloud: known are {', '.join(sorted(CLOUD_SUFFIXES))}")
    victim = pretrained.load_one(ckpt, distributed.choose_device(device))
    for file in files:
        several = read_clouds(file, num_points or victim.num_points, allow_upsample=allow_upsample)
        for cloud in several:
            (shares,) = victim.predict(victim.input_of(cloud.points[None], cloud.normals[None]))
            best = torch.topk(shares, min(top, len(shares)))
            ranked = zip(best.values.tolist(), best.indices.tolist(), strict=True)
            name = f"{file} {cloud.name}" if len(several) > 1 else f"{file}"
            print(f"{name}  " + "  ".join(f"{victim.class_names[number]} {share:.3f}" for share, number in ranked))


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(predict, argv)
