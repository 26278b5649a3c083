"""From logits to tables: methods stay apart, what was not trained on has its own table, nothing is lost silently."""

import json

import numpy as np
import pytest

from av_deepfake.evaluation import numbers
from av_deepfake.evaluation.scoring import compute, gathered
from av_deepfake.evaluation.suspects import CLEAN, Seen, Suspect
from shared_utils import UserError

ITEMS = [
    *(Suspect(("real", f"{i:03d}"), 0, "c23") for i in range(10)),
    *(Suspect((method, f"{i:03d}"), 1, "c23") for method in ("Deepfakes", "FaceSwap") for i in range(10)),
]


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr(numbers, "DRAWS", 10)


def part(*logits, notes=None, cues=None, change=CLEAN):
    """Of one video by as many models as there are rows."""
    return {
        f"logits {change}": np.array(logits, np.float32),
        "seen": np.array(json.dumps({"notes": notes or {}, "cues": cues or {}, "trimmed": 0.0})),
    }


@pytest.fixture
def parts():
    """Two models: the first finds Deepfakes, the second FaceSwap; two clips a video."""
    found = {}
    for number, item in enumerate(ITEMS):
        first, second = 4.0 * (item.key[0] == "Deepfakes"), 4.0 * (item.key[0] == "FaceSwap")
        low = number % 10
        found[number] = part([first + low, first - low], [second + low, second - low])
    return found


def test_fakes_of_two_methods_with_one_id_are_two_videos(parts):
    scored = gathered(parts, ITEMS, "c23")
    videos = scored.videos()
    assert len(videos.keys) == 30 and set(videos.clips) == {2}
    assert list(videos.logits) == [0.0] * 10 + [4.0] * 10 + [0.0] * 10


def test_a_row_of_all_and_a_row_a_method_for_every_model(parts):
    rows = numbers.table(parts, ITEMS, ["a", "b"], [None, None])
    assert [(row["model"], row["fakes"], row["AUC"]) for row in rows] == [
        ("a", "all", 0.75), ("a", "Deepfakes", 1.0), ("a", "FaceSwap", 0.5),
        ("b", "all", 0.75), ("b", "Deepfakes", 0.5), ("b", "FaceSwap", 1.0),
    ]  # fmt: skip
    assert rows[1]["videos"] == 20 and rows[1]["clips"] == 40 and rows[1]["AUC interval"] == [1.0, 1.0]
    assert rows[1]["clip AUC"] < 1.0


def test_leave_one_out_is_by_what_each_model_was_trained_on(parts):
    rows = numbers.leave_one_out(parts, ITEMS, ["a", "b"], [["Deepfakes"], ["Deepfakes"]])
    assert [row["left out"] for row in rows] == ["FaceSwap", "FaceSwap", "each"]
    assert [row["AUC"] for row in rows] == [0.5, 1.0, 0.75] and [row["AUC, seen"] for row in rows] == [1.0, 0.5, 0.75]
    assert numbers.leave_one_out(parts, ITEMS, ["a"], [["Deepfakes", "FaceSwap"]]) == []
    assert numbers.leave_one_out(parts, ITEMS, ["a"], [[]]) == [], "nothing is known of its training"


def test_the_grid_begins_with_the_clean_set(parts):
    worse = {number: each | {"logits blur:3": 0 * each[f"logits {CLEAN}"]} for number, each in parts.items()}
    rows = numbers.grid(worse, ITEMS, ["a"], [CLEAN, "blur:3"])
    assert [(row["degradation"], row["level"], row["AUC"]) for row in rows] == [("blur", 0, 0.75), ("blur", 3, 0.5)]


def test_videos_without_a_score_are_named_with_their_reason(parts):
    parts[0] = part([], [], notes={CLEAN: "no mouth"})
    found = numbers.accounted(parts, ITEMS)
    assert found == {"videos": 30, "trimmed": 0, "unscored": {"c23/real/000": "no mouth"}}
    rows = numbers.video_rows(parts, ITEMS, ["a", "b"])
    assert (
        rows[0]["clips"] == 0
        and np.isnan(rows[0]["a"])
        and rows[10]
        == {**{"set": "c23", "method": "Deepfakes", "id": "000", "label": 1, "clips": 2, "a": 4.0, "b": 0.0}}
    )
    assert numbers.table(parts, ITEMS, ["a"], [None])[0]["videos"] == 29


def test_cues_stand_beside_the_scores(parts):
    for number, item in enumerate(ITEMS):
        parts[number]["seen"] = np.array(
            json.dumps({"notes": {}, "trimmed": 0, "cues": {"duration": 1.0 + item.label}})
        )
    assert numbers.trivial(parts, ITEMS) == [{"set": "c23", "duration": 1.0}]


class Doubling:
    """Scores a clip by its brightness, and remembers how many came together."""

    def __init__(self):
        self.counts = []

    def score(self, clips, valid):
        self.counts.append(len(clips))
        return clips.reshape(len(clips), -1).mean(1) * valid.any(1)


class Few:
    name, items = "few", ITEMS[:2]

    def look(self, number, change):
        if number == 1:
            raise UserError("001.mp4 is damaged")
        return Seen(np.full((20, 25, 4, 4), 3, np.uint8), np.ones((20, 25), bool), {"duration": 20.0})


def test_clips_go_through_every_model_some_at_a_time_and_a_damaged_video_is_only_noted():
    model = Doubling()
    found = compute(Few(), 0, [model, model])
    assert (
        found[f"logits {CLEAN}"].shape == (2, 20) and (found[f"logits {CLEAN}"] == 3).all() and max(model.counts) == 16
    )
    lost = compute(Few(), 1, [model])
    assert lost[f"logits {CLEAN}"].shape == (1, 0)
    assert json.loads(lost["seen"])["notes"] == {CLEAN: "unreadable: 001.mp4 is damaged"}
