"""Golden cases of inference and colour."""

import numpy as np
from golden_network import inputs

from old_films_rtn.colour import lab
from old_films_rtn.streaming import window_schedule
from old_films_rtn.video.frame import grey_at_short_side


def sliding_window(case):
    return {
        "_".join(map(str, schedule)): np.array(window_schedule(*schedule), dtype=np.int64)
        for schedule in case.spec["schedules"]
    }


def test_resize(case):
    outputs = {}
    for name, image in inputs(case).items():
        grey = grey_at_short_side(image[..., ::-1], case.config.get("short_side", 368))
        outputs[name] = grey
        outputs[f"{name}_size"] = np.array(grey.shape[::-1])
    return outputs


test_resize.__test__ = False


def colour_keyframes(case):
    clip = inputs(case)["clip_bgr"]
    key = case.spec.get("keyframe", 0)
    true = lab.to_lab(clip[..., ::-1])
    return {
        "rgb_input": lab.published_rgb_input(clip, key),
        "lab_gt": true,
        "lab_input_v2": lab.keep_colour(true, [key]),
        "lab_input_v3": lab.keep_colour(true, [case.spec.get("keyframe_v3", 0), -1]),
        "lab_input_v4": lab.keep_colour(true, [-1]),
        "rgb_back": lab.from_lab(true),
    }


ADAPTERS = {"sliding_window": sliding_window, "test_resize": test_resize, "colour": colour_keyframes}
