"""``report.html``: what was asked, what was answered, and the evidence. One file with every picture in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ict_deepfake.metrics import Calibration
from ict_deepfake.prediction import verdicts
from ict_deepfake.prediction.claims import Claim
from ict_deepfake.prediction.job import Results, page_pictures
from ict_deepfake.prediction.predictor import Predictor
from ict_deepfake.prediction.rows import Face, Summary, write_rows
from shared_utils import files
from shared_utils.logging import write_table
from shared_utils.work import Work

MOST = 200
"""Files on a page; scores.csv has all of them."""
_TOP = 4.0  # the largest squared distance of two unit vectors
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5ea2", "#b8860b", "#555555")
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1080px; padding: 0 1em;
  color: #1d1d1f; background: #fff; }
h1 { font-size: 1.5em; margin: 0 0 .2em; } h2 { font-size: 1.05em; margin: 0 0 .5em; overflow-wrap: anywhere; }
.lead { color: #444; margin: 0 0 1em; } .box { background: #f5f5f2; padding: .7em 1em; margin: 1em 0; }
.box ul, .box ol { margin: .3em 0; padding-left: 1.4em; } .small { font-size: 12.5px; color: #555; }
section { border-top: 1px solid #ccc; padding: 1em 0; display: grid; grid-template-columns: 370px 1fr; gap: 1.2em; }
section > h2, section > .wide { grid-column: 1 / -1; } section img.whole { max-width: 360px; height: auto; display: block; }
.face { display: grid; grid-template-columns: 112px 1fr; gap: .9em; margin: 0 0 1em; }
.face img { width: 112px; height: 112px; background: #000; } .face p { margin: 0 0 .25em; }
.first { font-weight: 600; } .note { color: #8a5a00; } .no { color: #a3261b; } .yes { color: #23632d; }
.bar { position: relative; height: 9px; width: 240px; margin: .2em 0 .35em;
  background: linear-gradient(90deg, #dfe9df, #f3e6c8, #efc9c4); }
.bar i { position: absolute; top: -3px; width: 3px; height: 15px; background: #1d1d1f; }
.bar b { position: absolute; top: 0; width: 1px; height: 9px; background: #a3261b; }
table { border-collapse: collapse; } td, th { padding: .15em .8em .15em 0; text-align: left; vertical-align: top; }
@media print { section { break-inside: avoid; } } @media (max-width: 800px) { section { grid-template-columns: 1fr; } }
"""
_LIMITS = (
    "A swapped face has the inner face (eyes, nose, mouth) of one person and the outer face (hair, ears, chin) of another. "
    "What keeps the person is not found here: reenactment, lip synchronisation, make-up, retouching. Swaps of the eyes or "
    "the mouth alone are missed more often than not. A low score does not prove that a picture is genuine."
)


@dataclass(frozen=True)
class Asked:
    """What stands above the results.

    questions: of ``Predictor.questions``. model, settings: lines. calibration, claim: what the answers are made of.
    """

    questions: Sequence[str]
    model: str
    settings: str
    calibration: Calibration | None = None
    claim: Claim | None = None


def asked(predictor: Predictor, ckpt: str | None, settings: str) -> Asked:
    """What a predictor answers, as the page says it."""
    detector = predictor.detector
    model = f"Model: {'bundled' if ckpt is None else Path(ckpt).name} ({detector.digest}), crops of {detector.size} px"
    return Asked(predictor.questions(), model, settings, detector.calibration, predictor.claim)


def overview(results: Results, asked: Asked) -> list[dict[str, str | int | float | None]]:
    """A row a file, the most suspicious first and those without an answer last: what is printed, and summary.csv."""
    best: dict[str, tuple[float, Face]] = {}
    for row in results.rows:
        value = (row.claim if asked.claim is not None else row.score) or -1.0
        if row.status == "ok" and (row.source not in best or value > best[row.source][0]):
            best[row.source] = value, row
    ordered = _order(results.summaries, asked.claim is not None)
    rows = []
    for one in [*ordered, *(one for one in results.summaries if one.status != "ok")]:
        answers = [results.why(one.source)]
        if one.source in best:
            answers = verdicts.answers(best[one.source][1], asked.calibration, asked.claim)
        row = {"file": one.source, "status": one.status, "faces": one.faces, "score": one.score}
        if asked.claim is not None:
            row["claim"] = one.claim
        rows.append({**row, "answer": answers[0]})
    return rows


def write_results(out: str | Path, title: str, results: Results, asked: Asked, job: Work) -> None:
    """Write scores.csv (a row a face), summary.csv and .md (a row a file) and report.html."""
    out = Path(out)
    write_rows(results.rows, out / "scores.csv")
    write_table(overview(results, asked), out / "summary")
    write(out / "report.html", Path(title).name or title, results, asked, job)


def write(path: str | Path, title: str, results: Results, asked: Asked, job: Work) -> None:
    """Write the page.

    Args:
        path: the file.
        title: what was looked at.
        results: rows and summaries.
        asked: questions and settings.
        job: holds the small pictures and the folder of the crops.
    """
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as page:
        page.write(
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
            f"<title>{escape(title)}: whose face?</title>\n<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n"
        )
        page.writelines(_head(results, asked))
        shown = _order(results.summaries, asked.claim is not None)
        rows: dict[str, list[Face]] = {}
        for row in results.rows:
            rows.setdefault(row.source, []).append(row)
        pictures = page_pictures(job, results, {one.source for one in shown[:MOST]})
        for one in shown[:MOST]:
            page.writelines(_section(one, rows[one.source], pictures.get(one.source), asked, job.folder))
        if len(shown) > MOST:
            page.write(f'<p class="box">{len(shown) - MOST} more files are in scores.csv.</p>\n')
        page.write("</html>\n")


def _head(results: Results, asked: Asked) -> Iterator[str]:
    scored = [one for one in results.summaries if one.status == "ok"]
    faces = sum(row.status == "ok" for row in results.rows)
    several = sum(one.faces > 1 for one in scored)
    counts = f"{_counted(len(results.summaries), 'file')}, {_counted(faces, 'face')} scored"
    if several:
        counts += f"; {several} of them show several faces, of which each is scored and the highest counts"
    yield f'<p class="lead">{counts}.</p>\n<div class="box"><b>Answered here</b><ol>'
    yield from (f"<li>{escape(question)}</li>" for question in asked.questions)
    yield f"</ol>{_threshold(asked)}</div>\n"
    without = [one for one in results.summaries if one.status != "ok"]
    if without:
        yield '<div class="box"><b>Not answered</b><ul>'
        yield from (f"<li>{escape(one.source)}: {escape(results.why(one.source))}</li>" for one in without[:50])
        yield (f"<li>and {len(without) - 50} more, see scores.csv</li>" if len(without) > 50 else "") + "</ul></div>\n"
    calibrated = (
        "The scores are uncalibrated: they order the faces by suspicion, and no score is a probability."
        if asked.calibration is None
        else f"Probabilities are calibrated on {asked.calibration.dataset}; elsewhere they may be off."
    )
    yield f'<p class="small">{escape(_LIMITS)} {escape(calibrated)}<br>{escape(asked.model)}. {escape(asked.settings)}.</p>\n'


def _threshold(asked: Asked) -> str:
    if asked.claim is None:
        return ""
    whose = asked.claim.of if asked.claim.of != asked.claim.name else "this person"
    return (
        f"<p>The claim is refused above a squared distance of {asked.claim.threshold:.3f}, which 95 % of {asked.claim.count} "
        f"genuine pictures of {escape(whose)} keep to another picture of the same person.</p>"
    )


def _order(summaries: Sequence[Summary], claimed: bool) -> list[Summary]:
    """The most suspicious first."""
    scored = [one for one in summaries if one.status == "ok"]

    def suspicion(one: Summary) -> float:
        value = one.claim if claimed else one.score
        return -1.0 if value is None else value

    return sorted(scored, key=suspicion, reverse=True)


def _section(one: Summary, rows: list[Face], picture: bytes | None, asked: Asked, folder: Path) -> Iterator[str]:
    yield f"<section>\n<h2>{escape(one.source)}</h2>\n<div>"
    if picture:
        yield f'<img class="whole" alt="{escape(one.source, quote=True)}" src="{_source(picture)}">'
    scored = [row for row in rows if row.status == "ok"]
    video = any(row.frame is not None for row in rows)
    if video:
        yield f'<p class="small">{one.with_face} of {one.frames} sampled frames show a face; {_counted(one.faces, "track")}</p>'
        yield _timeline(scored)
    yield "</div>\n<div>\n"
    for row in _of_tracks(scored) if video else scored:
        yield _face(row, asked, folder)
    yield "</div>\n</section>\n"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _of_tracks(rows: list[Face]) -> list[Face]:
    """Of each track, the longest first, the face with the highest and the one with the lowest score."""
    tracks: dict[int | None, list[Face]] = {}
    for row in rows:
        tracks.setdefault(row.track, []).append(row)
    chosen = []
    for own in sorted(tracks.values(), key=len, reverse=True)[:6]:
        ordered = sorted(own, key=lambda row: row.score or 0.0)
        chosen += [ordered[-1], *ordered[: len(ordered) > 1]]
    return chosen


def _face(row: Face, asked: Asked, folder: Path) -> str:
    label = f"face {row.face}" if row.frame is None else f"track {row.track}, {row.time:.2f} s (frame {row.frame})"
    facts = [label]
    if row.detection is not None:
        facts.append(f"detected with {row.detection:.2f}")
    if row.visible is not None:
        facts.append(f"{row.visible:.0%} of the crop is inside the picture")
    answers = verdicts.answers(row, asked.calibration, asked.claim)
    first = "first"
    if asked.claim is not None and row.claim is not None:
        passes = row.claim <= asked.claim.threshold and row.claim_nearest == asked.claim.name
        first += " yes" if passes else " no"
    lines = [f'<p class="{first if number == 0 else ""}">{escape(text)}</p>' for number, text in enumerate(answers)]
    if asked.claim is not None and row.claim is not None:
        lines.insert(1, _bar(row.claim, max(1.0, 3 * asked.claim.threshold), asked.claim.threshold))
    if row.consistency is not None:
        lines.append(
            f"{_bar(row.consistency, _TOP)}<p class='small'>inner to outer face: {row.consistency:.3f} of 4</p>"
        )
    lines.append(_nearest(row))
    if row.note:
        lines.append(f'<p class="note">{escape(row.note)}</p>')
    lines.append(f'<p class="small">{escape("; ".join(facts))}</p>')
    crop = folder / row.crop if row.crop else None
    image = (
        f'<img alt="the face as the network sees it" src="{_source(crop.read_bytes())}">' if crop else "<span></span>"
    )
    return f'<div class="face">{image}<div>{"".join(lines)}</div></div>\n'


def _nearest(row: Face) -> str:
    if row.inner_name is None:
        return ""
    lines = []
    for face in ("inner", "outer"):
        name, distance = getattr(row, f"{face}_name"), getattr(row, f"{face}_distance")
        margin, known = getattr(row, f"{face}_margin"), getattr(row, f"{face}_known")
        further = "" if margin is None else f"the next person {margin:.3f} further"
        doubt = "" if known is not False else "further than genuine pictures"
        lines.append(
            f"<tr><td>{face} face</td><td>{escape(name)}</td><td>{distance:.3f}</td><td>{further}</td><td>{doubt}</td></tr>"
        )
    return f'<table class="small">{"".join(lines)}</table>'


def _bar(value: float, top: float, threshold: float | None = None) -> str:
    line = "" if threshold is None else f'<b style="left:{100 * min(1.0, threshold / top):.1f}%"></b>'
    return f'<div class="bar">{line}<i style="left:{98 * min(1.0, value / top):.1f}%"></i></div>'


def _timeline(rows: list[Face]) -> str:
    """The score of each track over the time of the video, as a drawing in the page."""
    known = [(row.time or 0.0, row.score, row.track or 0) for row in rows if row.score is not None]
    if len(known) < 2:
        return ""
    last, top = max(max(time for time, _, _ in known), 1e-3), max(1.0, max(score for _, score, _ in known))
    tracks: dict[int, list[str]] = {}
    for time, score, track in known:
        tracks.setdefault(track, []).append(f"{30 + 320 * time / last:.1f},{105 - 95 * score / top:.1f}")
    lines = [
        f'<polyline fill="none" stroke-width="1.6" stroke="{_COLOURS[track % len(_COLOURS)]}" points="{" ".join(points)}"/>'
        for track, points in tracks.items()
    ]
    text = (
        f'<text x="2" y="14">{top:.1f}</text><text x="2" y="108">0</text><text x="310" y="122">{last:.1f} s</text>'
        '<path d="M30 8 V105 H350" fill="none" stroke="#999"/>'
    )
    return f'<svg width="360" height="126" font-size="11" role="img" aria-label="score over time">{text}{"".join(lines)}</svg>'


def _source(content: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}"
