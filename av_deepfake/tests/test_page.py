"""The page: one file, everything in it, and words that a reader can check."""

import re

import numpy as np
import pytest

from av_deepfake import page
from av_deepfake.prediction import Clip, Genuine, Row
from av_deepfake.prediction.job import Results
from shared_utils import work

JPEG = np.frombuffer(b"\xff\xd8\xff\xd9", np.uint8)


def row(name, *logits, **more):
    clips = [Clip(number, number + 1.0, 25, logit) for number, logit in enumerate(logits)]
    facts = {"start": 0.0, "seconds": len(logits) + 0.5, "fps": 25.0}
    return Row(name, score=sum(logits) / len(logits), clips=clips, facts=facts, **more)


@pytest.fixture
def written(tmp_path):
    def write(*rows, genuine=None):
        with work.begin(tmp_path / "out", {"a": 1}, overwrite=True) as job:
            for number in range(len(rows)):
                job.write(f"videos/{number}", strip=JPEG, worst=JPEG)
            parts = {one.file: f"videos/{number}" for number, one in enumerate(rows)}
            head = page.Heading(["moves?"], "Model: m", "Mouths: mtcnn", "uncalibrated.")
            page.write(tmp_path / "page.html", "clips & <more>", Results(list(rows), parts, genuine), head, job)
        return (tmp_path / "page.html").read_text()

    return write


def test_the_page_needs_nothing_but_itself(written):
    text = written(row("a.mp4", 1.0, -0.5))
    assert (
        not re.search(r"(src|href)=\"(?!data:image/jpeg;base64,)", text) and "://" not in text and "<script" not in text
    )
    assert text.count("<img") == 2 and text.count("<svg") == 1


def test_names_and_titles_are_escaped(written):
    text = written(row("<b>&.mp4", 1.0))
    assert "<b>&.mp4" not in text and "&lt;b&gt;&amp;.mp4" in text and "clips &amp; &lt;more&gt;" in text


def test_the_most_suspicious_comes_first_and_what_has_no_score_is_named(written):
    text = written(
        row("low.mp4", -2.0), row("high.mp4", 3.0), Row("broken.mp4", status="unreadable", note="is no video")
    )
    assert text.index("high.mp4") < text.index("low.mp4")
    assert "broken.mp4: unreadable, is no video" in text


def test_what_all_videos_share_is_said_once(written):
    both = "frame rate: 30"
    text = written(row("a.mp4", 1.0, outside=[both, "bit rate: low"]), row("b.mp4", 0.0, outside=[both]))
    assert text.count(both) == 1 and text.count("bit rate: low") == 1


def test_answers_name_what_they_rest_on():
    genuine = Genuine({str(number): float(number) for number in range(20)})
    one = row("a.mp4", 100.0, rank=1 / 21)
    assert page.answer(one, genuine) == "score 100.00; above all 20 genuine videos of yours: suspicious"
    assert "uncalibrated" in page.answer(row("a.mp4", 1.0), None)
    assert page.answer(row("a.mp4", 1.0, probability=0.8), None) == "forged with probability 80%; score 1.00"
    assert page.answer(Row("a.mp4", status="no_mouth", note="why"), None) == "no_mouth: why"


def test_timeline_has_a_bar_a_clip_inside_its_frame():
    drawing = page._timeline(row("a.mp4", 1.0, -0.5, 0.0), (-0.6, 1.1))
    bars = [
        tuple(map(float, found))
        for found in re.findall(
            r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="#(?:1b|c8)', drawing
        )
    ]
    assert len(bars) == 3
    for x, y, width, height in bars:
        assert 42 <= x < x + width <= 952 and y >= 8 and y + height <= 112.5
    assert "0.50" in drawing and "-0.50" in drawing


def test_curve_marks_its_smallest_distance():
    one = row("a.mp4", 1.0, shifts=[-2, -1, 0, 1, 2], distances=[1.0, 0.9, 1.0, 0.5, 1.0])
    x, y = map(float, re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page._curve(one)).groups())
    assert x == pytest.approx(42 + 0.75 * 378) and y == 88
