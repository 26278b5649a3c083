"""Draw where along its surface a cloud is sensitive."""

import sys

from shared_utils import cli


def sensitivity(
    input: str | None = None,
    ckpt: str | None = None,
    label: str | None = None,
    out: str = "sensitivity.png",
    num_points: int | None = None,
    allow_upsample: bool = False,
    device: str = "auto",
) -> None:
    """The sensitivity map of a cloud: a picture, and a .ply beside it with the values as a scalar.

    Args:
        input: a cloud or mesh (.txt .npy .npz .ply .off .obj .pts .xyz); a shape of the embedded data where not given.
        ckpt: the victim; the one that travels with the package where not given.
        label: the class to leave (name or number); the predicted one where not given.
        out: the picture.
        num_points: points of the cloud; what the victim was trained for where not given.
        allow_upsample: repeat the points of a cloud that has too few.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    import torch

    from shared_utils import distributed
    from si_adv import figures, jobs
    from si_adv.attacks import sensitivity_map
    from si_adv.comparison import load_clouds, predictions
    from si_adv.data.files import read_cloud, write_ply

    place = distributed.choose_device(device)
    victim = next(iter(jobs.open_victims(ckpt, place).values()))
    size = num_points or victim.num_points
    if input is None:
        clouds = load_clouds(None, num_points=size, limit=1)
        points, normals = clouds.points, clouds.normals
    else:
        points, normals = (
            torch.as_tensor(values)[None] for values in read_cloud(input, size, allow_upsample=allow_upsample)[:2]
        )
    predicted = predictions(victim, points, 1, place)
    chosen = predicted if label is None else jobs.class_number(label, victim.class_names)
    values, _ = sensitivity_map(victim, points.to(place), chosen.to(place), normals.to(place))
    values = values[0].cpu().numpy()
    name = victim.class_names[int(predicted[0])]
    figures.sensitivity(out, points[0].numpy(), values, f"{Path(input).name if input else 'embedded shape'}: {name}")
    write_ply(Path(out).with_suffix(".ply"), points[0], normals[0], values)
    print(
        f"predicted {name}; {int((values > 0).sum())} of {size} points matter; wrote {out} and {Path(out).with_suffix('.ply')}"
    )


def main(argv: list[str] | None = None) -> int:
    return cli.run(sensitivity, argv)


if __name__ == "__main__":
    sys.exit(main())
