"""Run the projects' claims on their embedded data and put them on one page, ``runs/reproduce/index.html``.

    python tools/reproduce.py [--demo] [PROJECT ...]

What is run is in ``projects.toml``. A project that fails keeps its earlier results and is shown as failed; the others
run on; the exit status is then 1. The page shows every project, also those that this run was not asked for. With
``--demo`` only each project's main job is run, and where its table and figures are is printed.
"""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path

from page import Result, page

from shared_utils import UserError, files
from shared_utils.claim import Claim

ROOT = Path(__file__).resolve().parent.parent
LINES = 20  # of a failed command that the page shows


class FailedError(Exception):
    """A command that ended badly, why, and what it printed last."""

    def __init__(self, command: str, reason: str, lines: list[str]) -> None:
        super().__init__(f"'{command}' {reason}")
        self.record = {"command": command, "reason": reason, "lines": lines, "date": time.strftime("%Y-%m-%d %H:%M")}


def records() -> Path:
    """Where the page, the record of every project and the output of its last run are."""
    return ROOT / "runs" / "reproduce"


def run_commands(project: str, commands: list[str]) -> float:
    """Run shell commands in the project's folder with this interpreter first on the path; the seconds they took.

    What they print goes to the terminal and to ``runs/reproduce/PROJECT.log``. Raises FailedError at the first that fails.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    start = time.monotonic()
    records().mkdir(parents=True, exist_ok=True)
    with (records() / f"{project}.log").open("wb") as log:
        for command in commands:
            print(f"\n[{project}] $ {command}", flush=True)
            log.write(f"$ {command}\n".encode())
            last = b""
            with subprocess.Popen(
                command,
                shell=True,
                cwd=ROOT / project,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ) as process:
                while part := process.stdout.read1():
                    sys.stdout.write(part.decode(errors="replace"))
                    sys.stdout.flush()
                    log.write(part)
                    last = (last + part)[-20_000:]
            if process.returncode:
                # Of a line that was drawn over and over, the last state.
                lines = [line.rsplit("\r", 1)[-1] for line in last.decode(errors="replace").rstrip().split("\n")]
                raise FailedError(command, f"ended with status {process.returncode}", lines[-LINES:])
    return time.monotonic() - start


@contextmanager
def fresh(folder: Path):
    """Nothing at ``folder`` inside the block; what was there comes back unless the block ends well.

    What a failed block has left is kept beside it as ``<folder>.failed``. A run that was killed inside the block is put
    right by the next one.
    """
    before, failed = folder.with_name(f".{folder.name}.before"), folder.with_name(f"{folder.name}.failed")

    def restore() -> None:
        if folder.exists():
            shutil.rmtree(failed, ignore_errors=True)
            folder.rename(failed)
        if before.exists():
            before.rename(folder)

    if before.exists():
        restore()
    if folder.exists():
        folder.rename(before)
    try:
        yield
    except BaseException:
        restore()
        raise
    shutil.rmtree(before, ignore_errors=True)
    shutil.rmtree(failed, ignore_errors=True)


def reproduce(project: str, entry: dict) -> None:
    """Run a project's claim and record how it ended. Raises FailedError, with the earlier results in place."""
    folder = ROOT / project / entry["claim_results"]
    failure = records() / f"{project}.failure.json"
    try:
        with fresh(folder):
            seconds = run_commands(project, entry["claim"])
            try:
                check(Claim.read(folder), folder)
            except UserError as error:
                raise FailedError(entry["claim"][-1], "left no claim that can be shown", [str(error)]) from None
    except FailedError as error:
        files.write_json(error.record, failure)
        raise
    record = {
        "seconds": seconds,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": machine(),
        "claim": digest(folder),
    }
    files.write_json(record, records() / f"{project}.json")
    failure.unlink(missing_ok=True)


def check(claim: Claim, folder: Path) -> None:
    for figure in claim.figures:
        if not (folder / figure.file).is_file():
            raise UserError(f"the claim's figure {figure.file} is not in {folder}: run the project's claim again")


def result(project: str, entry: dict) -> Result:
    """What is known of a project now."""
    found = Result(project, entry, ROOT / project / entry["claim_results"])
    try:
        found.claim = Claim.read(found.folder)
        check(found.claim, found.folder)
    except UserError:
        found.claim = None
    record = read(records() / f"{project}.json")
    # The claim may have been made by hand since.
    if found.claim and record.get("claim") == digest(found.folder):
        found.record = record
    found.failure = read(records() / f"{project}.failure.json")
    return found


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "claim.json").read_bytes()).hexdigest()


def read(path: Path) -> dict:
    """A record; empty where there is none that can be read."""
    try:
        return files.read_json(path, "record")
    except UserError:
        return {}


def machine() -> str:
    """The processor, cores and versions that the numbers are measured with."""
    names = [line.split(":", 1)[1].strip() for line in read_lines("/proc/cpuinfo") if line.startswith("model name")]
    versions = [
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "pytorch-lightning", "numpy", "scipy")
    ]
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores; {platform.system()}; Python {platform.python_version()}, {', '.join(versions)}"


def read_lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def write_page(projects: dict[str, dict]) -> Path:
    """Write the page from what there is."""
    path = records() / "index.html"
    with files.replacing(path) as temporary:
        temporary.write_text(page([result(project, entry) for project, entry in projects.items()]))
    return path


def demo(project: str, entry: dict) -> None:
    with fresh(ROOT / project / entry["demo_results"]):
        run_commands(project, entry["demo"])


def shown(folder: Path) -> list[Path]:
    """The files of a results folder that are for people: not the parts of unfinished work, nor what is hidden."""
    kinds = (".png", ".jpg", ".svg", ".pdf", ".txt", ".csv", ".md", ".json")
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in kinds and path.name != "job.json"]
    return [
        path for path in paths if not any(part == "parts" or part[0] == "." for part in path.relative_to(folder).parts)
    ]


def main(arguments: list[str]) -> int:
    projects = tomllib.loads((ROOT / "tools" / "projects.toml").read_text())
    is_demo = "--demo" in arguments
    wanted = [name for name in arguments if name != "--demo"] or list(projects)
    for name in wanted:
        if name not in projects:
            print(f"no project {name}: known are {', '.join(projects)}", file=sys.stderr)
            return 2
    failed = []
    for name in wanted:
        try:
            (demo if is_demo else reproduce)(name, projects[name])
        except FailedError as error:
            print(f"[{name}] {error}", file=sys.stderr, flush=True)
            failed.append(f"{name}: {error}")
        except KeyboardInterrupt:
            print(f"\ninterrupted at {name}; what was finished is kept", file=sys.stderr)
            return 130
        if not is_demo:
            write_page(projects)
    if is_demo:
        print("\nTables and figures:")
        for name in wanted:
            for path in shown(ROOT / name / projects[name]["demo_results"]):
                print(f"  {path.relative_to(ROOT)}")
    else:
        print(f"\n{write_page(projects).relative_to(ROOT)}")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
