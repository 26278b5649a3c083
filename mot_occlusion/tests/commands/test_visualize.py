"""visualize.py, through its command."""

import numpy as np
import pytest
from scenes import image_of, scene

from mot_occlusion.commands import visualize as visualize_command
from mot_occlusion.detections import Detections


class FakeDetector:
    def __call__(self, image):
        boxes = np.array(scene(5))
        boxes[:, 2:] += boxes[:, :2]
        return Detections(boxes, np.array([0.9, 0.8]), np.eye(2, 8), np.array([[60.0, 40.0]]), np.ones(1))

    def embed(self, image, boxes):
        return np.eye(8)[: len(boxes)]

    def occlusion_map(self, image):
        return np.linspace(0, 1, image.shape[0] * image.shape[1]).reshape(image.shape[:2])


@pytest.fixture
def clip(scratch, monkeypatch):
    import cv2

    from mot_occlusion import pretrained

    monkeypatch.setattr(pretrained, "load", lambda source, device: FakeDetector())
    (scratch / "clip").mkdir()
    for frame in range(1, 13):
        cv2.imwrite(str(scratch / "clip" / f"{frame}.png"), image_of(frame))
    lines = [
        f"{frame},{i},{x},{y},{w},{h},1\n" for frame in range(1, 13) for i, (x, y, w, h) in enumerate(scene(frame), 1)
    ]
    (scratch / "clip.txt").write_text("".join(lines))
    return scratch


@pytest.mark.parametrize(
    "arguments",
    [
        ["trajectories", "--results", "clip.txt", "--source", "clip"],
        ["trajectories", "--results", "clip.txt"],
        ["timeline", "--results", "clip.txt"],
        ["frames", "--source", "clip", "--frame", "1", "--second", "9"],
        ["occlusion", "--source", "clip", "--frame", "3"],
        ["similarity", "--source", "clip", "--frame", "1"],
        ["similarity", "--source", "clip", "--frame", "1", "--second", "4", "--detections", "clip.txt"],
    ],
)
def test_figures_are_drawn(clip, arguments):
    from PIL import Image

    assert visualize_command.main([*arguments, "--out", "figures/a.png"]) == 0
    with Image.open("figures/a.png") as image:
        assert min(image.size) > 200 and len(image.convert("RGB").getcolors(100_000)) > 8
    assert (clip / "figures" / "a.png").stat().st_size < 500_000


def test_hota_curves_of_several_trackers(benchmark):
    arguments = ["hota", "--data", "MOT17", "--results", "ours=results,again=results", "--out", "hota.png"]
    assert visualize_command.main(arguments) == 0
    assert (benchmark / "hota.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["timeline"], "timeline needs --results"),
        (["occlusion"], "occlusion needs --source"),
        (["hota", "--results", "clip.txt"], "hota needs --data"),
        (
            ["occlusion", "--source", "clip", "--frame", "99"],
            "clip has no readable frame 99: choose another with --frame",
        ),
        (["timeline", "--results", "empty.txt"], "empty.txt has no boxes: there is nothing to draw"),
        (["painting", "--results", "clip.txt"], "painting"),
    ],
)
def test_figures_that_cannot_be_drawn(clip, capsys, arguments, message):
    (clip / "empty.txt").write_text("")
    assert visualize_command.main([*arguments, "--out", "a.png"]) == 2
    assert message in capsys.readouterr().err
    assert not (clip / "a.png").exists()


@pytest.mark.parametrize("kind", ["svg", "pdf", "jpg"])
def test_the_ending_chooses_the_kind_and_what_exists_stays(clip, capsys, kind):
    arguments = ["timeline", "--results", "clip.txt", "--out", f"a.{kind}"]
    assert visualize_command.main(arguments) == 0 and (clip / f"a.{kind}").stat().st_size > 1000
    assert visualize_command.main(arguments) == 2
    assert f"a.{kind} exists: replace it with --overwrite" in capsys.readouterr().err
    assert visualize_command.main([*arguments, "--overwrite"]) == 0
