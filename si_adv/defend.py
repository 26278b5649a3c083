"""Put defences in front of a victim and see what an attack is worth then."""

import sys

from shared_utils import cli


def defend(
    clouds: str,
    defence: str = "srs,sor",
    ckpt: str | None = None,
    punet: str | None = None,
    batch_size: int = 32,
    device: str = "auto",
    out: str | None = None,
) -> None:
    """Accuracy on clean and attacked clouds through each defence.

    The attack that made the clouds did not know of the defence; for one that does: attack.py --defence.

    Args:
        clouds: attacked clouds, an npz that attack.py, query.py or transfer.py wrote (out/clouds/*.npz).
        defence: srs, sor, dupnet, with commas between.
        ckpt: the victim behind the defence; the one that travels with the package where not given.
        punet: weights of PU-Net for dupnet.
        batch_size: clouds passed at once.
        device: auto, cpu, cuda, mps.
        out: folder for the table; a new runs/defend/version_N where not given.
    """
    from pathlib import Path

    from shared_utils import UserError, distributed
    from si_adv import jobs, report
    from si_adv.data.files import open_arrays
    from si_adv.defences import Defended, build_defence

    place = distributed.choose_device(device)
    arrays = open_arrays(Path(clouds))
    missing = [name for name in ("adv", "clean", "label") if name not in arrays]
    if missing:
        raise UserError(f"{clouds} has no {', '.join(missing)}: give an npz that attack.py wrote (its clouds folder)")
    victims = jobs.open_victims(ckpt, place)
    victim = next(iter(victims.values()))
    defended = {}
    for name in jobs.split_names(defence):
        options = {"weights": punet} if punet and name == "dupnet" else {}
        defended[name] = Defended(victim, build_defence(name, **options)).to(place).eval()
    rows = jobs.defence_table(arrays, victim, defended, batch_size, place)
    folder = jobs.result_folder(out, "defend")
    report.write_tables(folder, "table", rows)
    print(report.printed(rows, list(rows[0])))
    print(f"\nresults: {folder}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(defend, argv)


if __name__ == "__main__":
    sys.exit(main())
