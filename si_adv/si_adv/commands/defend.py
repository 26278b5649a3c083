"""Put defences in front of a victim and see what an attack is worth then."""

from shared_utils import cli


def defend(
    clouds: str,
    defence: str = "srs,sor",
    ckpt: str | None = None,
    punet: str | None = None,
    batch_size: int = 32,
    device: str = "auto",
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Accuracy on clean and attacked clouds through each defence.

    The attack that made the clouds did not know of the defence; for one that does: attack.py --defence.

    Args:
        clouds: attacked clouds, an npz that attack.py, query.py or transfer.py wrote (out/clouds/*.npz).
        defence: srs, sor, dupnet, surface_opt, with commas between.
        ckpt: the victim behind the defence; the bundled one where not given.
        punet: weights of PU-Net for dupnet.
        batch_size: clouds passed at once.
        device: auto, cpu, cuda, mps.
        out: folder for the table; a new runs/defend/version_N where not given.
        overwrite: replace the table in --out.
    """
    from pathlib import Path

    from shared_utils import UserError, distributed, files, lists, logging
    from si_adv import pretrained
    from si_adv.data.files import open_arrays
    from si_adv.defences import Defended, build_defence
    from si_adv.evaluation import tables

    if out is not None:
        files.refuse_existing(out, overwrite)
    arrays = open_arrays(Path(clouds))
    missing = [name for name in ("adv", "clean", "label") if name not in arrays]
    if missing:
        raise UserError(f"{clouds} has no {', '.join(missing)}: give an npz that attack.py wrote (its clouds folder)")
    place = distributed.choose_device(device)
    victim = pretrained.load_one(ckpt, place)
    defended = {}
    for name in lists.names(defence):
        options = {"weights": punet} if punet and name == "dupnet" else {}
        defended[name] = Defended(victim, build_defence(name, **options)).to(place).eval()
    rows = tables.defence_table(arrays, victim, defended, batch_size, place)
    folder = logging.run_folder("defend") if out is None else Path(out)
    tables.write(folder, rows)
    print(f"{tables.printed(rows)}\n\nresults: {folder}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(defend, argv)
