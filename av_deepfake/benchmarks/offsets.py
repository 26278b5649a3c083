"""How often an offset is given, and how often it is right: on procedural talking mouths with their own and with other sound.

    python benchmarks/offsets.py                     # the bundled model
    python benchmarks/offsets.py --ckpt runs/default

Speakers that no training has seen, sound moved by -5, -2, 0, 3 and 5 frames. The thresholds of ``synchrony`` were chosen on
other speakers of seed 0 (``CHOSEN_ON``), of which this table has none; with --seed another population is drawn.
"""

from __future__ import annotations

import numpy as np

from av_deepfake import pretrained
from av_deepfake.procedural import SPEAKERS, Mouths, Recordings
from av_deepfake.synchrony import Synchrony
from shared_utils import cli
from shared_utils.logging import table

SHIFTS = (-5, -2, 0, 3, 5)
_SPARE = 5  # frames before and behind the picture, for sound that is moved
CHOSEN_ON = range(100, 150)  # the first speakers are those of the retrieval test
_FIRST = 200


def offsets(
    model: pretrained.MouthModel, clips: Recordings, frames: int, other: int = 0
) -> list[tuple[int, Synchrony]]:
    """The true and the measured offset of every clip.

    Args:
        model: with an audio branch.
        clips: of ``frames`` + 10 frames or more.
        frames: of the picture.
        other: whose sound is taken: of the clip that is so many places further.
    """
    found = []
    for row, pictures in enumerate(clips.pictures):
        late = SHIFTS[row % len(SHIFTS)]
        sound = clips.sound[(row + other) % len(clips.sound)][(_SPARE - late) * 640 :][: frames * 640]
        found.append((late, model.synchrony(pictures[_SPARE : _SPARE + frames], sound)))
    return found


def best(found: Synchrony) -> int:
    """The shift that fits best, whether or not it stands out."""
    return int(found.shifts[np.nanargmin(found.distances)])


def measure(ckpt: str | None = None, count: int = 50, seed: int = 0) -> None:
    """Print the table.

    Args:
        ckpt: a model of the pre-training; the bundled one where not given.
        count: speakers, a clip each.
        seed: of the population.
    """
    model, mouths = pretrained.load(ckpt), Mouths(seed, pretrained.load(ckpt).preprocessing["size"])
    speakers, rows = SPEAKERS["retrieval"][_FIRST : _FIRST + count], []
    for nuisance, lengths in (("moderate", (45, 75, 125)), ("hard", (75,))):
        clips = mouths.recordings(speakers, 1, (max(lengths) + 2 * _SPARE) / 25, nuisance)
        for frames in lengths:
            own, other = offsets(model, clips, frames), offsets(model, clips, frames, other=7)
            given = [(late, each.offset) for late, each in own if each.offset is not None]
            rows.append(
                {
                    "sound": nuisance,
                    "seconds": frames / 25,
                    "best shift within 1 frame": np.mean([abs(best(each) - late) <= 1 for late, each in own]),
                    "offset given": len(given) / len(own),
                    "given and wrong": sum(abs(offset - late) > 1 for late, offset in given) / len(own),
                    "given for another's sound": np.mean([each.offset is not None for _, each in other]),
                }
            )
    print(table(rows, f"shares of {count} clips, seed {seed}"))


if __name__ == "__main__":
    raise SystemExit(cli.run(measure))
