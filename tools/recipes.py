"""Run the recipes of the READMEs exactly as they are typed, in a scratch copy of the workspace.

    python tools/recipes.py [MEMBER ...]

A recipe is a fenced block opened with ```` ```bash recipe ````. The blocks of one README run in order, in one shell
each, in the README's folder of one copy, so that a later block finds what an earlier one made.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPE = re.compile(r"^```bash recipe\n(.*?)^```", re.MULTILINE | re.DOTALL)


def recipes(readme: Path) -> list[str]:
    """The recipe blocks of a README, in order. Raises ValueError for one that has a placeholder such as ``<file>``."""
    blocks = RECIPE.findall(readme.read_text())
    for block in blocks:
        placeholder = re.search(r"<[A-Za-z][^<>\n]*>", block)
        if placeholder:
            raise ValueError(f"{readme}: a recipe runs as typed, but {placeholder[0]} has to be filled in")
    return blocks


def readmes(members: list[str]) -> list[Path]:
    """The READMEs with recipes: of the given members, or of the root and of every member."""
    if members:
        return [ROOT / member / "README.md" for member in members]
    return [ROOT / "README.md", *sorted(ROOT.glob("*/README.md"))]


def copy_workspace(target: Path) -> None:
    """Copy what git knows (tracked and new files, not ignored ones), and link the data folder that lies beside."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
            (target / name).chmod((ROOT / name).stat().st_mode)
    if (ROOT.parent / "shared").is_dir():
        (target.parent / "shared").symlink_to(ROOT.parent / "shared")


def main(members: list[str]) -> int:
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "workspace"
        copy_workspace(copy)
        for readme in readmes(members):
            for block in recipes(readme):
                place = readme.parent.relative_to(ROOT)
                print(f"== {place / 'README.md'}\n{block}", flush=True)
                start = time.monotonic()
                done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=copy / place)
                print(f"== status {done.returncode}, {time.monotonic() - start:.0f} s\n", flush=True)
                if done.returncode:
                    failed.append(f"{place / 'README.md'}: {block.splitlines()[0]}")
    print("\n".join(f"failed: {name}" for name in failed) or "every recipe ran as typed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
