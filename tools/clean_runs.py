"""List the trained runs and results of the workspace with their sizes, ask, and remove them.

    python tools/clean_runs.py [MEMBER ...]

Everything in ``runs`` of the root and of every member goes, or that of the given members. Without a terminal to ask at,
nothing is removed unless the environment variable YES is 1.
"""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def size(path: Path) -> int:
    """The bytes of a file, or of all files below a folder; a link counts as itself."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(size(inside) for inside in path.iterdir())


def readable(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def found(members: list[str]) -> list[Path]:
    """What there is to remove: the entries of every ``runs`` folder."""
    folders = [ROOT / member / "runs" for member in members] or [ROOT / "runs", *sorted(ROOT.glob("*/runs"))]
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]


def agreed() -> bool:
    if os.environ.get("YES", "") == "1":
        return True
    if not sys.stdin.isatty():
        print("nothing removed: there is no terminal to ask at; make clean-runs YES=1 removes without asking")
        return False
    return input("Remove all of this? [y/N] ").strip().lower() in ("y", "yes")


def main(members: list[str]) -> int:
    unknown = [member for member in members if not (ROOT / member).is_dir()]
    if unknown:
        print(f"no folder {unknown[0]} in the workspace", file=sys.stderr)
        return 2
    paths = found(members)
    if not paths:
        print("there are no runs")
        return 0
    sizes = [size(path) for path in paths]
    for path, number in zip(paths, sizes, strict=True):
        print(f"{readable(number):>8}  {path.relative_to(ROOT)}")
    print(f"{readable(sum(sizes)):>8}  in all")
    if not agreed():
        return 1
    for path in paths:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
    print(f"removed {len(paths)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
