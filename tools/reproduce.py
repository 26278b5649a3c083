"""Run the projects' claims on their embedded data and put them on one page, ``runs/reproduce/index.html``.

    python tools/reproduce.py [--demo] [PROJECT ...]

What is run stands in ``projects.toml``. With ``--demo`` only each project's main job is run, and where its table and
figures lie is printed. A project's results are read from ``claim.json`` in its results folder (CONTRIBUTING.md).
"""

import base64
import html
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "runs" / "reproduce" / "index.html"
STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2430; background: #f6f7f9; margin: 0 }
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem }
h1 { font-size: 1.9rem; margin: 0 0 .3rem } h2 { font-size: 1.35rem; margin: 0 } h3 { font-size: 1rem; margin: 1.6rem 0 .5rem }
p.sub, figcaption, footer { color: #5b6675; font-size: .9rem }
section { background: #fff; border: 1px solid #e1e5ea; border-radius: 10px; padding: 1.6rem 1.8rem; margin: 1.6rem 0 }
.verdict { display: inline-block; border-radius: 6px; padding: .15rem .6rem; font-weight: 600; font-size: .9rem }
.holds { background: #dff3e4; color: #14602c } .fails { background: #fbe3e0; color: #8c1d11 }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #e8ebef; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } th { font-weight: 600; background: #fafbfc }
figure { margin: 1.4rem 0 } img { max-width: 100%; border: 1px solid #e8ebef; border-radius: 6px }
pre { background: #f2f4f7; padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .85rem }
"""


def run_commands(project: str, commands: list[str]) -> float:
    """Run shell commands in the project's folder with this interpreter first on the path; the seconds they took."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    start = time.monotonic()
    for command in commands:
        print(f"\n[{project}] $ {command}", flush=True)
        done = subprocess.run(command, shell=True, cwd=ROOT / project, env=environment)
        if done.returncode:
            sys.exit(f"{project}: '{command}' ended with status {done.returncode}")
    return time.monotonic() - start


def cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e-2 else f"{value:.3f}"
    return "–" if value is None else html.escape(str(value))


def as_table(rows: list[dict]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell(row.get(name))}</td>" for name in rows[0]) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def section(project: str, entry: dict, seconds: float) -> str:
    """One project's part of the page."""
    folder = ROOT / project / entry["claim_results"]
    claim = json.loads((folder / "claim.json").read_text())
    parts = [
        f'<section id="{project}"><h2>{html.escape(project)}</h2><p class="sub">{html.escape(entry["paper"])}</p>',
        f"<p>{html.escape(claim['claim'])}</p>",
        f'<p><span class="verdict {"holds" if claim["holds"] else "fails"}">{html.escape(claim["verdict"])}</span></p>',
    ]
    for table in claim["tables"]:
        parts.append(f"<h3>{html.escape(table['title'])}</h3>{as_table(table['rows'])}")
    for figure in claim["figures"]:
        image = base64.b64encode((folder / figure["file"]).read_bytes()).decode()
        caption = html.escape(figure["caption"])
        parts.append(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{image}"><figcaption>{caption}</figcaption></figure>'
        )
    commands = html.escape("\n".join([f"cd {project}", *entry["claim"]]))
    seeds = ", ".join(map(str, claim["seeds"]))
    parts.append(f"<h3>Commands</h3><pre>{commands}</pre><p class='sub'>seeds {seeds}; {seconds:.0f} s</p></section>")
    return "\n".join(parts)


def machine() -> str:
    """The processor, cores and versions that the numbers were measured with."""
    names = [line.split(":", 1)[1].strip() for line in read_lines("/proc/cpuinfo") if line.startswith("model name")]
    versions = [
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "pytorch-lightning", "numpy", "scipy")
    ]
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores; {platform.system()}; Python {platform.python_version()}, {', '.join(versions)}"


def read_lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def page(sections: list[str]) -> str:
    """The whole page, self-contained."""
    made = time.strftime("%Y-%m-%d")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Reproduced claims</title><style>{STYLE}</style>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"></head><body><main><h1>Reproduced claims</h1>'
        f'<p class="sub">Every number and picture below was made by the commands beside it, on {html.escape(machine())}, '
        f"{made}.</p>{''.join(sections)}</main></body></html>\n"
    )


def main(arguments: list[str]) -> int:
    projects = tomllib.loads((ROOT / "tools" / "projects.toml").read_text())
    demo = "--demo" in arguments
    wanted = [name for name in arguments if name != "--demo"] or list(projects)
    for name in wanted:
        if name not in projects:
            print(f"no project {name}: known are {', '.join(projects)}", file=sys.stderr)
            return 2
    # What an earlier run left is not what these commands make.
    for name in wanted:
        shutil.rmtree(ROOT / name / projects[name]["demo_results" if demo else "claim_results"], ignore_errors=True)
    if demo:
        for name in wanted:
            run_commands(name, projects[name]["demo"])
        print("\nTables and figures:")
        for name in wanted:
            folder = ROOT / name / projects[name]["demo_results"]
            for path in sorted(folder.glob("*")):
                if path.suffix in (".png", ".txt", ".csv", ".json"):
                    print(f"  {path.relative_to(ROOT)}")
        return 0
    sections = []
    for name in wanted:
        seconds = run_commands(name, projects[name]["claim"])
        sections.append(section(name, projects[name], seconds))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(sections))
    print(f"\n{PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
