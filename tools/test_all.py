"""Run the tests of every member, each in a process of its own, and end with one line of totals.

    python tools/test_all.py [MEMBER ...]

A member is a folder with a ``tests`` folder. As many run at a time as there are cores.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def members() -> list[str]:
    """Every folder of the workspace that has tests, by name."""
    return sorted(path.parent.name for path in ROOT.glob("*/tests") if path.is_dir())


def run_tests(member: str) -> tuple[int, int, int, str]:
    """(passed, failed, skipped, output) of one member's tests."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "tests", f"--junitxml={report}", "--durations=5"]
        # One thread a process: the members run side by side.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        start = time.monotonic()
        done = subprocess.run(command, cwd=ROOT / member, capture_output=True, text=True, env=environment)
        output = f"== {member} ({time.monotonic() - start:.0f} s)\n{done.stdout}{done.stderr}"
        if not report.is_file():
            return 0, 1, 0, output
        suite = ElementTree.parse(report).getroot().find("testsuite")
        count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    # A run that found no test, or was stopped, has failed even though no test has.
    failed = failed or int(done.returncode != 0)
    return (
        max(0, count["tests"] - count["failures"] - count["errors"] - count["skipped"]),
        failed,
        count["skipped"],
        output,
    )


def main(wanted: list[str]) -> int:
    known = members()
    for name in wanted:
        if name not in known:
            print(f"no tests in {name}: known are {', '.join(known)}", file=sys.stderr)
            return 2
    total = [0, 0, 0]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in as_completed([pool.submit(run_tests, name) for name in wanted or known]):
            *counts, output = future.result()
            print(output, flush=True)
            total = [a + b for a, b in zip(total, counts, strict=True)]
    passed, failed, skipped = total
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
