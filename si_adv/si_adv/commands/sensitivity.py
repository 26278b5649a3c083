"""Draw where along its surface a cloud is sensitive."""

from shared_utils import cli


def sensitivity(
    cloud: str | None = None,
    ckpt: str | None = None,
    label: str | None = None,
    out: str = "sensitivity.png",
    overwrite: bool = False,
    num_points: int | None = None,
    allow_upsample: bool = False,
    device: str = "auto",
) -> None:
    """The sensitivity map of a cloud: a picture, and a .ply beside it with the values as a scalar.

    Args:
        cloud: a cloud or mesh (.txt .csv .xyz .pts .npy .npz .ply .pcd .off .obj .stl); a shape of the embedded data where
            not given.
        ckpt: the victim; the bundled one where not given.
        label: the class to leave (name or number); the predicted one where not given.
        out: the picture (png, jpg, pdf or svg).
        overwrite: replace --out and the .ply.
        num_points: points of the cloud; what the victim was trained for where not given.
        allow_upsample: repeat the points of a cloud that has too few.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    from shared_utils import distributed, files
    from si_adv import figures, pretrained
    from si_adv.data.files import read_cloud
    from si_adv.data.procedural import ProceduralShapes
    from si_adv.data.writers import write_ply
    from si_adv.evaluation.sensitivity import label_and_map

    scalar = Path(out).with_suffix(".ply")
    files.refuse_existing(out, overwrite)
    files.refuse_existing(scalar, overwrite)
    victim = pretrained.load_one(ckpt, distributed.choose_device(device))
    size = num_points or victim.num_points
    shapes = ProceduralShapes("test", 1, size)
    sample = shapes[0]
    if cloud is not None:
        sample = read_cloud(cloud, size, allow_upsample=allow_upsample)
    predicted, values = label_and_map(victim, sample, label)
    title = f"{Path(cloud).name if cloud else 'embedded shape'}: {predicted}"
    figures.sensitivity(out, sample.points.numpy(), values, title, None if cloud else shapes.surface(0))
    write_ply(scalar, sample.points, sample.normals, values, framed=True)
    print(f"predicted {predicted}; {int((values > 0).sum())} of {size} points matter; wrote {out} and {scalar}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(sensitivity, argv)
