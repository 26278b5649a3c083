"""Run the tests of every member, each in a process of its own, and end with the slowest ones and one line of totals.

    python tools/test_all.py [MEMBER ...]

A member is a folder with a ``tests`` folder. As many run at a time as there are cores, those with the most tests first.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLOWEST = 10


@dataclass
class Outcome:
    """What the tests of one member came to; ``times`` are (seconds, test)."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    output: str = ""
    times: list[tuple[float, str]] = field(default_factory=list)


def members() -> list[str]:
    """Every folder of the workspace that has tests, by name."""
    return sorted(path.parent.name for path in ROOT.glob("*/tests") if path.is_dir())


def cores() -> int:
    """Those that this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tests(member: str) -> Outcome:
    """Run one member's tests. A run that found no test, or was stopped, has failed even though no test has."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # Its own temporary folder: pytest's shared one is cleared by whichever run comes third.
        options = [f"--junitxml={report}", f"--basetemp={Path(folder) / 'tests'}"]
        command = [sys.executable, "-m", "pytest", "-q", "tests", *options]
        # One thread a process: the members run side by side.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        start = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT / member, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
        )
        output = f"== {member} ({time.monotonic() - start:.0f} s)\n{done.stdout}{done.stderr}"
        try:
            suite = ElementTree.parse(report).getroot().find("testsuite")
        except (OSError, ElementTree.ParseError):
            return Outcome(failed=1, output=f"{output}{member}: pytest ended with status {done.returncode}\n")
    count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    wrong = count["failures"] + count["errors"]
    times = [(float(case.get("time", 0)), f"{member}: {case.get('name')}") for case in suite.iter("testcase")]
    return Outcome(
        passed=max(0, count["tests"] - wrong - count["skipped"]),
        failed=wrong or int(done.returncode != 0),
        skipped=count["skipped"],
        output=output,
        times=times,
    )


def main(wanted: list[str]) -> int:
    known = members()
    for name in wanted:
        if name not in known:
            print(f"no tests in {name}: known are {', '.join(known)}", file=sys.stderr)
            return 2
    amount = {name: sum(path.stat().st_size for path in (ROOT / name / "tests").rglob("*.py")) for name in known}
    total = Outcome()
    start = time.monotonic()
    with ThreadPoolExecutor(cores()) as pool:
        order = sorted(wanted or known, key=lambda name: -amount[name])
        for future in as_completed([pool.submit(run_tests, name) for name in order]):
            outcome = future.result()
            print(outcome.output, flush=True)
            total.passed += outcome.passed
            total.failed += outcome.failed
            total.skipped += outcome.skipped
            total.times += outcome.times
    print(f"{time.monotonic() - start:.0f} s in all; the slowest:")
    for seconds, name in sorted(total.times, reverse=True)[:SLOWEST]:
        print(f"{seconds:6.1f} s  {name}")
    print(f"{total.passed} passed, {total.failed} failed" + (f", {total.skipped} skipped" if total.skipped else ""))
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
