"""Our attacks beside the figures measured on the published code: the same victim, the same clouds, the same budget.

    python benchmarks/published_figures.py --golden FOLDER

The folder holds the stored victim and clouds (``victim_pointnet_mn10.npz``, ``bench_mn10.npz``). Attacks that draw at
random cannot agree with one published run to the digit: they are run with several seeds, and the spread is printed.
"""

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from shared_utils import cli

STORED_VICTIM = "victim_pointnet_mn10.npz"
#: ``surface_own`` is by the clouds' stored normals, as published; ``surface``, by 12 neighbours, has no published figure.
COLUMNS = ("asr", "l2", "chamfer", "hausdorff", "surface_own", "outliers", "queries", "median", "surface")


@dataclass(frozen=True)
class Row:
    """An attack, its options beside the published defaults, and the published figures over so many clouds."""

    attack: str
    clouds: int
    published: tuple[float | None, ...]
    options: dict[str, Any] = field(default_factory=dict)
    random: bool = False


ROWS = (
    Row(
        "si_ifgm",
        10,
        (1.00, 0.697, 2.87e-4, 0.0312, 1.00e-3, 55.6, None, None, None),
        {"normal_neighbours": 20},
    ),
    Row("ifgm", 10, (1.00, 0.477, 1.27e-4, 0.0201, 2.55e-3, 69.5, None, None, None)),
    Row("mifgm", 6, (1.00, 3.133, 3.05e-3, 0.0498, 2.71e-2, 76, None, None, None), {"early_stop": False}),
    Row("fgm", 30, (0.37, 0.388, 0.80e-4, 0.0157, 2.00e-3, 92, None, None, None)),
    Row("pgd", 6, (1.00, 0.486, 1.30e-4, 0.0208, 3.54e-3, 67, None, None, None), {"start": "published"}, random=True),
    Row(
        "si_query",
        30,
        (1.00, 1.159, 3.32e-4, 0.0555, 1.09e-3, 24, 24.8, 14.5, None),
        {"step": 0.32, "published_start": True},
    ),
    Row(
        "simba",
        30,
        (1.00, 1.451, 4.48e-4, 0.0548, 2.78e-3, 26, 54.5, 42, None),
        {"step": 0.32, "published_start": True},
        random=True,
    ),
    Row(
        "simba, published order",
        30,
        (1.00, 1.451, 4.48e-4, 0.0548, 2.78e-3, 26, 54.5, 42, None),
        {"step": 0.32, "published_start": True},
    ),
    Row(
        "simba_pp",
        4,
        (1.00, 1.335, 4.94e-4, 0.1358, 2.13e-3, 31, 46.8, 21.5, None),
        {"step": 0.32, "published_start": True, "published_decoding": True},
        random=True,
    ),
)


def published_figures(golden: str = "../../shared/golden/si_adv", seeds: int = 5) -> None:
    """Print our figures, the published ones and their ratios.

    Args:
        golden: folder of the stored victim and clouds.
        seeds: number of seeds of the attacks that draw at random.
    """
    import torch

    from si_adv.attacks import build_attack

    if not Path(golden, STORED_VICTIM).is_file():
        print(
            f"{STORED_VICTIM} is not in {golden}: the published figures were measured on it; give its folder as --golden"
        )
        return
    victim, clouds, labels = victim_and_clouds(golden)
    print(f"{'':23}" + "".join(f"{name:>12}" for name in COLUMNS))
    for row in ROWS:
        runs = []
        for seed in range(seeds if row.random else 1):
            build = (
                published_order_simba if row.attack == "simba, published order" else partial(build_attack, row.attack)
            )
            attack = build(victim, seed=seed, **row.options)
            runs.append(figures(attack.run(clouds[: row.clouds], labels[: row.clouds]), clouds[: row.clouds]))
        runs = torch.tensor(runs, dtype=torch.float64)
        ours = runs.mean(0).tolist()
        print(f"{row.attack:23}" + _cells(ours) + f"   {row.clouds} clouds")
        print(f"{'published':>22} " + _cells(row.published))
        ratios = [o / p if p else None for o, p in zip(ours, row.published, strict=True)]
        print(f"{'ratio':>22} " + _cells(ratios))
        if row.random:
            low, high = runs.amin(0).tolist(), runs.amax(0).tolist()
            spread = [
                None if p is None else f"{a:.3g}..{b:.3g}" for a, b, p in zip(low, high, row.published, strict=True)
            ]
            print(f"{f'{seeds} seeds':>22}    " + "  ".join(text for text in spread if text))


def published_order_simba(victim, **options):
    """SimBA through the coordinates in the order that the published script draws: numpy's generator, seed 2022."""
    import numpy as np
    import torch

    from si_adv.attacks import SimBA

    generator = np.random.RandomState(2022)

    class PublishedOrder(SimBA):
        def _moves(self, clean, labels, normals, ids):
            orders = []
            for _ in labels:
                order = np.arange(3 * clean.shape[1]).reshape(-1, 1)
                generator.shuffle(order)  # rows, as the published list of pairs
                orders.append(torch.from_numpy(order[:, 0]))
            orders = torch.stack(orders)
            return self._coordinate_moves(orders, self._signs(clean).expand(*orders.shape, 2))

    return PublishedOrder(victim, micro_batch=1, **options)


def victim_and_clouds(golden: str) -> tuple:
    """The stored victim, its thirty clouds (30, 1024, 6) float32 with normals, and their labels.

    Where the folder does not have them: the victim of the package and thirty embedded clouds that it classifies rightly.
    """
    import numpy as np
    import torch

    from si_adv.evaluation.clouds import load_clouds, predictions
    from si_adv.pretrained import load_victim

    if Path(golden, STORED_VICTIM).is_file():
        with np.load(f"{golden}/bench_mn10.npz", allow_pickle=False) as stored:
            clouds, labels = stored["clouds6"].astype(np.float32), stored["labels"].astype(np.int64)
        return load_victim(f"{golden}/{STORED_VICTIM}"), torch.from_numpy(clouds), torch.from_numpy(labels)
    victim, some = load_victim(), load_clouds(None, limit=60)
    rows = (predictions(victim, some.points, 10, torch.device("cpu")) == some.labels).nonzero()[:30, 0]
    return victim, torch.cat([some.points, some.normals], 2)[rows], some.labels[rows]


def figures(result, clouds) -> list[float]:
    """The columns of the table: means over the clouds, and the mean and median of the queries."""
    import numpy as np
    import torch

    from si_adv.geometry import estimate_normals
    from si_adv.metrics import MEASURED_NEIGHBOURS, distances, surface

    clean = clouds[..., :3]
    values = distances(result.adv, clean, torch.nn.functional.normalize(clouds[..., 3:], dim=-1))
    means = [
        float(values[name].double().mean()) for name in ("l2_published", "chamfer", "hausdorff", "surface", "outliers")
    ]
    queries = result.queries.double().numpy()
    own = [float(result.success.double().mean()), *means, float(queries.mean()), float(np.median(queries))]
    return [*own, float(surface(result.adv, clean, estimate_normals(clean, MEASURED_NEIGHBOURS)).mean())]


def _cells(values) -> str:
    return "".join(f"{'-' if value is None else format(value, '.3g'):>12}" for value in values)


if __name__ == "__main__":
    sys.exit(cli.run(published_figures))
