"""The page of ``make reproduce``: a table of all claims, then a section a project. Self-contained HTML."""

import base64
import html
import io
import mimetypes
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared_utils.claim import Claim

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2430; background: #f6f7f9; margin: 0 }
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem }
h1 { font-size: 1.9rem; margin: 0 0 .3rem } h2 { font-size: 1.35rem; margin: 0 } h3 { font-size: 1rem; margin: 1.6rem 0 .5rem }
p.sub, figcaption, footer { color: #5b6675; font-size: .9rem } a { color: inherit }
section { background: #fff; border: 1px solid #e1e5ea; border-radius: 10px; padding: 1.6rem 1.8rem; margin: 1.6rem 0 }
.verdict { display: inline-block; border-radius: 6px; padding: .15rem .6rem; font-weight: 600; font-size: .9rem }
.holds { background: #dff3e4; color: #14602c } .fails { background: #fbe3e0; color: #8c1d11 } .none { background: #eceff3 }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #e8ebef; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } th { font-weight: 600; background: #fafbfc }
table.claims { width: 100%; background: #fff; margin: 1.4rem 0 }
table.claims th, table.claims td { text-align: left; white-space: normal; vertical-align: middle }
table.claims img { width: 11rem; max-height: 7rem; object-fit: contain } table.claims .verdict { white-space: nowrap }
figure { margin: 1.4rem 0 } img { max-width: 100%; border: 1px solid #e8ebef; border-radius: 6px }
pre { background: #f2f4f7; padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .85rem }
"""
THUMBNAIL = (440, 280)


@dataclass
class Result:
    """What is known of a project.

    claim: of the newest complete results, in ``folder``; None where there are none. record: how they were made (see
    ``reproduce.py``), empty where that is not known. failure: of the last attempt, empty where it ended well.
    """

    project: str
    entry: dict[str, Any]
    folder: Path
    claim: Claim | None = None
    record: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, Any] = field(default_factory=dict)


def page(results: list[Result]) -> str:
    """The whole page."""
    made = time.strftime("%Y-%m-%d %H:%M")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Reproduced claims</title><style>{STYLE}</style>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head><body><main><h1>Reproduced claims</h1>'
        '<p class="sub">Every number and picture below was made by the commands beside it, on the machine and day that '
        f"are given there. Page of {made}.</p>{overview(results)}{''.join(map(section, results))}</main></body></html>\n"
    )


def overview(results: list[Result]) -> str:
    """The table of all claims, one line and one picture each."""
    rows = ["<tr><th>project</th><th>claim</th><th></th><th>picture</th></tr>"]
    for result in results:
        claim = html.escape(result.claim.claim) if result.claim else html.escape(result.entry["paper"])
        state = verdict(result)
        if result.failure and result.claim:
            state += f'<br><span class="sub">results of {made_on(result)}</span>'
        rows.append(
            f'<tr><td><a href="#{result.project}">{html.escape(result.project)}</a></td><td>{claim}</td><td>{state}</td>'
            f"<td>{thumbnail(result)}</td></tr>"
        )
    return f'<table class="claims">{"".join(rows)}</table>'


def verdict(result: Result) -> str:
    if result.failure:
        return '<span class="verdict fails">the run failed</span>'
    if result.claim is None:
        return '<span class="verdict none">not run yet</span>'
    kind, word = ("holds", "holds") if result.claim.holds else ("fails", "does not hold")
    return f'<span class="verdict {kind}">{word}</span>'


def thumbnail(result: Result) -> str:
    """The claim's first figure, small, linked to its section."""
    if result.claim is None or not result.claim.figures:
        return ""
    figure = result.claim.figures[0]
    path = result.folder / figure.file
    if path.suffix.lower() == ".svg":
        source = inline(path)
    else:
        from PIL import Image

        small = io.BytesIO()
        try:
            with Image.open(path) as image:
                image = image.convert("RGB")
                image.thumbnail(THUMBNAIL)
                image.save(small, format="jpeg", quality=85)
        except OSError:
            return ""
        source = f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"
    return f'<a href="#{result.project}"><img alt="{html.escape(figure.caption)}" src="{source}"></a>'


def inline(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def section(result: Result) -> str:
    """One project's part of the page: how the last attempt failed where it did, and the newest complete results."""
    project, entry, claim = result.project, result.entry, result.claim
    parts = [f'<section id="{project}"><h2>{html.escape(project)}</h2><p class="sub">{html.escape(entry["paper"])}</p>']
    if result.failure:
        lines = html.escape("\n".join(result.failure["lines"]))
        parts.append(
            f'<p><span class="verdict fails">the run of {html.escape(result.failure["date"])} failed</span></p>'
            f"<p><code>{html.escape(result.failure['command'])}</code> {html.escape(result.failure['reason'])}:</p>"
            f"<pre>{lines}</pre>"
        )
        parts.append(
            "<p>Below are the results from before it.</p>" if claim else "<p>There are no earlier results.</p>"
        )
    if claim:
        parts.append(f"<p>{html.escape(claim.claim)}</p>")
        kind = "holds" if claim.holds else "fails"
        parts.append(f'<p><span class="verdict {kind}">{html.escape(claim.verdict)}</span></p>')
        for table in claim.tables:
            parts.append(f"<h3>{html.escape(table.title)}</h3>{as_table(table.rows)}")
        parts += [picture(result.folder / figure.file, figure.caption) for figure in claim.figures]
    elif not result.failure:
        parts.append("<p>Not run yet.</p>")
    commands = html.escape("\n".join([f"cd {project}", *entry["claim"]]))
    parts.append(f"<h3>Commands</h3><pre>{commands}</pre>")
    if claim:
        known = [f"seeds {', '.join(map(str, claim.seeds))}"] if claim.seeds else []
        known += [f"{result.record['seconds']:.0f} s", result.record["machine"]] if result.record else []
        parts.append(f'<p class="sub">{html.escape("; ".join([*known, made_on(result)]))}</p>')
    return "\n".join([*parts, "</section>"])


def made_on(result: Result) -> str:
    """When the results were made: by the record, else by the file."""
    if result.record:
        return result.record["date"]
    return time.strftime("%Y-%m-%d", time.localtime((result.folder / "claim.json").stat().st_mtime))


def picture(path: Path, caption: str) -> str:
    text = html.escape(caption)
    if path.suffix.lower() == ".pdf":
        return (
            f'<p><a download="{html.escape(path.name)}" href="{inline(path)}">{html.escape(path.name)}</a>: {text}</p>'
        )
    return f'<figure><img alt="{text}" src="{inline(path)}"><figcaption>{text}</figcaption></figure>'


def cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e-2 else f"{value:.3f}"
    return "–" if value is None else html.escape(str(value))


def as_table(rows: list[dict]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell(row.get(name))}</td>" for name in rows[0]) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
