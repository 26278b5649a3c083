"""``report.html``: what was asked, what was answered, and the evidence. One file with every picture in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from av_deepfake.prediction.genuine import Genuine
from av_deepfake.prediction.job import Results, pictures
from av_deepfake.prediction.request import Request
from av_deepfake.prediction.rows import Row
from shared_utils import files
from shared_utils.work import Work

if TYPE_CHECKING:
    from av_deepfake.pretrained import MouthModel

MOST = 200
"""Videos on a page; scores.csv has all of them."""
_WIDTH = 960
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 980px; padding: 0 1em;
  color: #1d1d1f; background: #fff; }
h1 { font-size: 1.5em; margin: 0 0 .2em; } h2 { font-size: 1.1em; margin: 0 0 .3em; overflow-wrap: anywhere; }
.lead { color: #444; margin: 0 0 1em; } .box { background: #f5f5f2; padding: .7em 1em; margin: 1em 0; }
.box ul, .box ol, section ul { margin: .3em 0; padding-left: 1.4em; } .small { font-size: 12.5px; color: #555; }
section { border-top: 1px solid #ccc; padding: 1em 0; } section p { margin: .2em 0 .5em; }
section img { display: block; max-width: 100%; height: auto; } svg { display: block; max-width: 100%; height: auto; }
.first { font-weight: 600; } .note { color: #8a5a00; } .high { color: #a3261b; }
figure { margin: .6em 0; } figcaption { font-size: 12.5px; color: #555; margin: .15em 0; }
details { margin: .4em 0; } table { border-collapse: collapse; }
td, th { padding: .1em .9em .1em 0; text-align: left; vertical-align: top; }
@media print { section { break-inside: avoid; } }
"""
_LIMITS = (
    "Scored is how the mouth moves over one second; forgeries that leave the mouth alone are not found, and a low score "
    "does not prove that a video is genuine."
)


@dataclass(frozen=True)
class Heading:
    """What stands above the results: the questions, the model and the settings in words."""

    questions: Sequence[str]
    model: str
    settings: str
    calibrated: str


def heading(model: MouthModel, ckpt: str | None, asked: Request, genuine: Genuine | None) -> Heading:
    """What a model answers, as the page says it."""
    questions = ["Does the mouth move as in forged videos? (from the picture alone; sound is not needed)"]
    if genuine is not None:
        questions.append(f"Is the score unusual among {len(genuine.scores)} genuine videos of your own?")
    if asked.settings.sound:
        questions.append("Does the sound belong to the picture, and how late or early is it?")
    if model.calibration is not None:
        calibrated = "Probabilities are those of the set that the model was calibrated on; elsewhere they may be off."
    else:
        calibrated = "The scores are uncalibrated: larger is more suspicious, and no score is a probability."
    if genuine is None:
        calibrated += " Compare with genuine videos of your own by --genuine FOLDER."
    name = "bundled" if ckpt is None else Path(ckpt).name
    stage = model.training_data.get("detection") or model.training_data.get("pretraining") or {}
    trained = f", trained on {stage['set']}" if "set" in stage else ""
    return Heading(questions, f"Model: {name}{trained}", asked.words(), calibrated)


def answer(row: Row, genuine: Genuine | None) -> str:
    """The answer for a video in words."""
    if row.score is None:
        return f"{row.status}: {row.note}"
    parts = [f"score {row.score:.2f}"]
    if row.probability is not None:
        parts.insert(0, f"forged with probability {row.probability:.0%}")
    if row.rank is not None and genuine is not None:
        parts.append(genuine.words(row.rank))
    elif row.probability is None:
        parts.append("uncalibrated, larger is more suspicious")
    return "; ".join(parts)


def write(path: str | Path, title: str, results: Results, head: Heading, job: Work) -> None:
    """Write the page.

    Args:
        path: the file.
        title: what was looked at.
        results: the rows.
        head: what stands above them.
        job: holds the pictures of the mouths.
    """
    scored = sorted((row for row in results.rows if row.score is not None), key=lambda row: -(row.score or 0.0))
    without = [row for row in results.rows if row.score is None]
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as page:
        page.write(
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
            f"<title>{escape(title)}: mouths</title>\n<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n"
        )
        page.writelines(_head(scored, without, head))
        span, shared = _span(scored), _shared(scored)
        for row in scored[:MOST]:
            page.writelines(_section(row, results.genuine, *pictures(job, results.parts[row.file]), span, shared))
        if len(scored) > MOST:
            page.write(f'<p class="box">{len(scored) - MOST} more videos are in scores.csv.</p>\n')
        page.write("</html>\n")


def _head(scored: list[Row], without: list[Row], head: Heading) -> Iterator[str]:
    clips = sum(len(row.clips) for row in scored)
    yield f'<p class="lead">{_counted(len(scored) + len(without), "video")}, {_counted(clips, "clip")} scored.</p>\n'
    yield '<div class="box"><b>Answered here</b><ol>'
    yield from (f"<li>{escape(question)}</li>" for question in head.questions)
    yield "</ol></div>\n"
    if without:
        yield '<div class="box"><b>Without a score</b><ul>'
        yield from (f"<li>{escape(row.file)}: {escape(row.status)}, {escape(row.note)}</li>" for row in without[:50])
        yield (f"<li>and {len(without) - 50} more, see scores.csv</li>" if len(without) > 50 else "") + "</ul></div>\n"
    shared = _shared(scored)
    if shared:
        yield '<div class="box"><b>All of them lie outside the training data in</b><ul>'
        yield from (f"<li>{escape(one)}</li>" for one in shared)
        yield "</ul></div>\n"
    yield (
        f'<p class="small">{escape(_LIMITS)} {escape(head.calibrated)}<br>{escape(head.model)}. '
        f"{escape(head.settings)}.</p>\n"
    )


def _shared(rows: list[Row]) -> list[str]:
    """What is said of every video alike stands above, once."""
    return [one for one in rows[0].outside if all(one in row.outside for row in rows)] if len(rows) > 1 else []


def _section(
    row: Row, genuine: Genuine | None, strip: bytes, worst: bytes, span: tuple[float, float], shared: list[str]
) -> Iterator[str]:
    suspicious = (row.rank is not None and row.rank <= 0.05) or (row.probability or 0) > 0.5
    yield f"<section>\n<h2>{escape(row.file)}</h2>\n"
    yield f'<p class="first{" high" if suspicious else ""}">{escape(answer(row, genuine))}</p>\n'
    if row.sound:
        yield f"<p>Sound: {escape(row.sound)}{_confidence(row)}</p>\n"
    yield f"<figure>{_timeline(row, span)}"
    yield "<figcaption>Score of each clip over time; hatched: no clip there</figcaption></figure>\n"
    yield _figure(strip, "Mouths from the whole video, as they were cut")
    clip = row.worst
    if clip is not None and len(row.clips) > 1:
        yield _figure(worst, f"Every frame of the most suspicious clip, {clip.start:.2f} to {clip.stop:.2f} s")
    if len(row.shifts) > 2:
        yield f"<figure>{_curve(row)}<figcaption>Distance of sound and picture, by how late the "
        yield "sound is taken to be</figcaption></figure>\n"
    own = [one for one in row.outside if one not in shared]
    if own:
        yield '<div class="note">Outside the training data:<ul>'
        yield from (f"<li>{escape(one)}</li>" for one in own)
        yield "</ul></div>\n"
    if row.remarks:
        yield "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in row.remarks) + "</ul>\n"
    yield _facts(row)
    yield "</section>\n"


def _confidence(row: Row) -> str:
    if row.offset is None:
        return ""
    return f' <span class="small">(confidence {row.confidence:.3f}, of distances between 0 and 2)</span>'


def _facts(row: Row) -> str:
    lines = []
    for name, value in row.facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {one}" for key, one in value.items())
        if value is not None and not isinstance(value, list):
            lines.append(f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(str(value))}</td></tr>")
    return f'<details class="small"><summary>What was measured</summary><table>{"".join(lines)}</table></details>\n'


def _figure(picture: bytes, caption: str) -> str:
    if not picture:
        return ""
    source = f"data:image/jpeg;base64,{base64.b64encode(picture).decode('ascii')}"
    alt = escape(caption, quote=True)
    return f'<figure><img alt="{alt}" src="{source}"><figcaption>{escape(caption)}</figcaption></figure>\n'


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _span(rows: list[Row]) -> tuple[float, float]:
    """The range of all logits, 0 in it, so that the videos of a page can be compared."""
    logits = [clip.logit for row in rows for clip in row.clips]
    low, high = min([0.0, *logits]), max([0.0, *logits])
    room = 0.08 * max(high - low, 0.5)
    return low - room, high + room


def _timeline(row: Row, span: tuple[float, float]) -> str:
    """Bars of the clips' logits over the time of the video."""
    left, right, top, bottom = 42, _WIDTH - 8, 8, 112
    begin = float(row.facts.get("start") or 0.0)
    end = max([clip.stop for clip in row.clips] + [begin + float(row.facts.get("seconds") or 0.0)])
    begin = min([clip.start for clip in row.clips] + [begin])
    length = max(end - begin, 1e-3)

    def x(time: float) -> float:
        return left + (right - left) * (time - begin) / length

    def y(logit: float) -> float:
        return bottom - (bottom - top) * (logit - span[0]) / (span[1] - span[0])

    zero, worst = y(0.0), row.worst
    parts = [
        '<defs><pattern id="h" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path d="M0 0V6" stroke="#ddd" stroke-width="3"/></pattern></defs>',
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" fill="url(#h)"/>',
    ]
    for clip in row.clips:
        x0, x1 = x(clip.start), x(clip.stop)
        value = y(clip.logit)
        colour = "#c8553d" if clip == worst and len(row.clips) > 1 else "#1b6ca8"
        parts.append(f'<rect x="{x0:.1f}" y="{top}" width="{x1 - x0:.1f}" height="{bottom - top}" fill="#fff"/>')
        parts.append(
            f'<rect x="{x0 + 0.5:.1f}" y="{min(value, zero):.1f}" width="{max(x1 - x0 - 1, 0.8):.1f}" '
            f'height="{max(abs(value - zero), 1):.1f}" fill="{colour}"><title>{clip.start:.2f} to {clip.stop:.2f} s: '
            f"{clip.logit:.2f}</title></rect>"
        )
    step = next(one for one in (0.5, 1, 2, 5, 10, 30, 60, 300, 600, 3600, 1e9) if length / one <= 14)
    marks = [begin + step * number for number in range(int(length / step + 1e-6) + 1)]
    parts += [f'<text x="{x(time):.1f}" y="{bottom + 14}" text-anchor="middle">{time:g}</text>' for time in marks]
    parts += [
        f'<path d="M{left} {zero:.1f}H{right}" stroke="#777"/>',
        f'<text x="{left - 5}" y="{zero + 4:.1f}" text-anchor="end">0</text>',
        f'<text x="{left - 5}" y="{top + 9}" text-anchor="end">{span[1]:.1f}</text>' if zero - top > 24 else "",
        f'<text x="{left - 5}" y="{bottom}" text-anchor="end">{span[0]:.1f}</text>' if bottom - zero > 24 else "",
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end">s</text>' if length % step else "",
    ]
    size = f'width="{_WIDTH}" height="{bottom + 20}" viewBox="0 0 {_WIDTH} {bottom + 20}"'
    return f'<svg {size} font-size="11" role="img" aria-label="score over time">{"".join(parts)}</svg>'


def _curve(row: Row) -> str:
    """The distance over the shifts; the smallest one is marked."""
    left, right, top, bottom = 42, 420, 8, 88
    low, high = min(row.distances), max(row.distances)
    first, last = row.shifts[0], row.shifts[-1]

    def place(shift: int, distance: float) -> tuple[float, float]:
        across = (shift - first) / max(last - first, 1)
        return left + (right - left) * across, bottom - (bottom - top) * (distance - low) / max(high - low, 1e-9)

    points = [place(*pair) for pair in zip(row.shifts, row.distances, strict=True)]
    best = points[row.distances.index(low)]
    marks = sorted({first, *range(-(-first // 5) * 5, last + 1, 5), last})
    texts = [
        f'<text x="{place(shift, low)[0]:.1f}" y="{bottom + 14}" text-anchor="middle">{shift:+d}</text>'
        for shift in marks
        if shift in (0, first, last) or min(shift - first, last - shift) > 1
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<svg width="520" height="{bottom + 20}" viewBox="0 0 520 {bottom + 20}" font-size="11" role="img" '
        f'aria-label="synchrony"><path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#999"/>'
        f'<polyline fill="none" stroke="#1b6ca8" stroke-width="1.6" points="{line}"/>'
        f'<circle cx="{best[0]:.1f}" cy="{best[1]:.1f}" r="3.5" fill="#c8553d"/>{"".join(texts)}'
        f'<text x="{right + 8}" y="{bottom + 4}">frames</text><text x="{left - 5}" y="{top + 9}" text-anchor="end">'
        f"{high:.2f}</text>"
        f'<text x="{left - 5}" y="{bottom}" text-anchor="end">{low:.2f}</text></svg>'
    )
