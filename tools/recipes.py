"""Run the recipes of the READMEs exactly as they are typed, as a newcomer would: in a copy of the workspace, installed anew.

    python tools/recipes.py [MEMBER ...]

A recipe is a fenced block opened with ```` ```bash recipe ````. For each README, a clean shell runs its Install section
first: that makes the copy's own environment and activates it. Every recipe then runs in a new shell in the README's
folder, with what the activated shell exports and nothing else, so that a later block finds the files of an earlier one.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPE = re.compile(r"^```bash recipe\n(.*?)^```", re.MULTILINE | re.DOTALL)
INSTALL = re.compile(r"^## Install\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```bash( recipe)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c"]
# What a new login would have too. How to reach the package index is the machine's matter, not the recipe's.
KEPT = re.compile(r"(LANG|LC_\w+|TERM|USER|LOGNAME|SHELL|TMPDIR|PYTHON|PIP_\w+|UV_\w+|\w*_PROXY|\w*CERT\w*|\w*_CA_\w+)")


def recipes(readme: Path) -> list[str]:
    """The recipe blocks of a README, in order. Raises ValueError for one that has a placeholder such as ``<file>``."""
    blocks = RECIPE.findall(readme.read_text())
    for block in blocks:
        placeholder = re.search(r"<[A-Za-z][^<>\n]*>", block)
        if placeholder:
            raise ValueError(f"{readme}: a recipe runs as typed, but {placeholder[0]} has to be filled in")
    return blocks


def install(readme: Path) -> str:
    """What the Install section says to type first: its first block where that is a recipe, else that block's first line
    (the lines below are other ways). Raises ValueError where there is none."""
    section = INSTALL.search(readme.read_text())
    block = BLOCK.search(section[1]) if section else None
    if block is None:
        raise ValueError(f"{readme}: no Install section with a ```bash block")
    return block[2] if block[1] else block[2].strip().splitlines()[0]


def readmes(members: list[str]) -> list[Path]:
    """The READMEs with recipes: of the given members, or of the root and of every member."""
    if members:
        return [ROOT / member / "README.md" for member in members]
    return [ROOT / "README.md", *sorted(ROOT.glob("*/README.md"))]


def copy_workspace(target: Path) -> None:
    """Copy what git knows (tracked and new files, not ignored ones), and link the data folder that is beside."""
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


def newcomer(home: Path) -> dict[str, str]:
    """The environment of a new login: no activated environment, no PYTHONPATH, an empty home, the caches of downloads."""
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name.upper())}
    own = {os.environ.get("VIRTUAL_ENV", ""), str(Path(sys.prefix)), str(ROOT / ".venv")} - {""}
    paths = [path for path in os.environ["PATH"].split(os.pathsep) if path and str(Path(path).parent) not in own]
    kept |= {"HOME": str(home), "PATH": os.pathsep.join(paths)}
    before = Path.home()
    kept.setdefault("UV_CACHE_DIR", str(before / ".cache" / "uv"))
    for name, place in (("PIP_CONFIG_FILE", "pip/pip.conf"), ("UV_CONFIG_FILE", "uv/uv.toml")):
        if (before / ".config" / place).is_file():
            kept.setdefault(name, str(before / ".config" / place))
    return kept


def run(block: str, folder: Path, environment: dict[str, str], title: str) -> bool:
    """Run a block in a shell of its own; whether it ended well."""
    print(f"== {title}\n{block}", flush=True)
    start = time.monotonic()
    done = subprocess.run([*SHELL, block], cwd=folder, env=environment)
    print(f"== status {done.returncode}, {time.monotonic() - start:.0f} s\n", flush=True)
    return done.returncode == 0


def activated(command: str, folder: Path, clean: dict[str, str], title: str) -> dict[str, str] | None:
    """The environment of a shell that has run an Install section; None where that failed."""
    exported = Path(clean["HOME"]) / "exported"
    if not run(f'{command}\nenv -0 > "$HOME/exported"', folder, clean, title):
        return None
    pairs = (line.split("=", 1) for line in exported.read_text().split("\0") if line)
    # What bash sets for itself in every shell.
    return {name: value for name, value in pairs if name not in ("_", "SHLVL", "PWD", "OLDPWD")}


def main(members: list[str]) -> int:
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        copy, home = Path(folder) / "workspace", Path(folder) / "home"
        home.mkdir()
        copy_workspace(copy)
        clean = newcomer(home)
        for readme in readmes(members):
            blocks = recipes(readme)
            if not blocks:
                continue
            place = readme.parent.relative_to(ROOT)
            name = str(place / "README.md")
            environment = activated(install(readme), copy / place, clean, f"{name}, Install")
            if environment is None:
                failed.append(f"{name}: Install")
                continue
            for block in blocks:
                if not run(block, copy / place, environment, name):
                    failed.append(f"{name}: {block.splitlines()[0]}")
    print("\n".join(f"failed: {name}" for name in failed) or "every recipe ran as typed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
