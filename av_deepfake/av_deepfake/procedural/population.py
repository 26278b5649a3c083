"""The embedded data set: speakers of a seed, their recordings, a retrieval test and forged clips, cached on disk."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from av_deepfake.procedural import sound as sounds
from av_deepfake.procedural.fakes import METHODS, blurred, forged_motion, with_trace
from av_deepfake.procedural.nuisances import NUISANCES, compressed, filmed, heard
from av_deepfake.procedural.picture import BOX, Motion, draw, head_motion
from av_deepfake.procedural.script import Articulation, articulate, at_frames, draw_script
from av_deepfake.procedural.speakers import draw_speakers
from shared_utils import UserError
from shared_utils.files import replacing

log = logging.getLogger(__name__)

DEFAULT_CACHE = "~/.cache/av_deepfake"
FPS = FRAMES = 25
SPEAKERS = {
    "pretraining": range(10_000),
    "train": range(10_000, 10_030),
    "val": range(20_000, 20_030),
    "test": range(30_000, 30_030),
    "retrieval": range(40_000, 50_000),
}
"""Numbers of the speakers of each split; the splits share nobody."""
Split = Literal["train", "val", "test"]


class Recordings(NamedTuple):
    """n clips of talking mouths.

    pictures: (n, t, s, s) uint8. sound: (n, 640 t) float32 at 16 kHz, sample 640 f belongs to the start of frame f.
    speaker, script: (n,) numbers. jaw, spread: (n, t), the articulation that both show.
    """

    pictures: np.ndarray
    sound: np.ndarray
    speaker: np.ndarray
    script: np.ndarray
    jaw: np.ndarray
    spread: np.ndarray


class Fakes(NamedTuple):
    """n clips of 25 frames, genuine and forged.

    pictures: (n, 25, s, s) uint8. label: (n,), 1 = fake. method: (n,) "real", "A".. speaker: (n,). video: (n,) names.
    """

    pictures: np.ndarray
    label: np.ndarray
    method: np.ndarray
    speaker: np.ndarray
    video: np.ndarray


class Mouths:
    """Talking mouths of a seed. The same arguments give the same clips, bit for bit.

    Args:
        seed: of speakers, scripts and everything that differs between clips.
        size: side of the pictures in pixels, a multiple of 8.
        cache: folder of what was made; None: nothing is kept.
        severity: of the manipulations; 1 as specified.
    """

    def __init__(
        self,
        seed: int = 0,
        size: int = 24,
        cache: str | Path | None = DEFAULT_CACHE,
        severity: float = 1.0,
    ) -> None:
        if size < 16 or size % 8:
            raise UserError(f"mouths of {size} pixels: take a multiple of 8 from 16 on")
        if severity < 0:
            raise UserError(f"severity is 0 or more, got {severity}")
        self.seed, self.size, self.severity = seed, size, severity
        self.cache = None if cache is None else Path(cache).expanduser()

    def recordings(
        self,
        speakers: Iterable[int],
        per_speaker: int,
        seconds: float = 1.8,
        nuisance: str = "moderate",
    ) -> Recordings:
        """Clips with sound, each of its own script.

        Args:
            speakers: their numbers (see ``SPEAKERS``).
            per_speaker: clips of each.
            seconds: of a clip.
            nuisance: ``clean``, ``moderate`` (as pre-training should have it), ``babble`` or ``hard``.
        """
        numbers = np.asarray(list(speakers), np.int64)
        if not len(numbers) or per_speaker < 1 or numbers.min() < 0:
            raise UserError("recordings take one speaker or more, with numbers from 0, and one clip or more of each")
        speaker = np.repeat(numbers, per_speaker)
        take = np.tile(np.arange(per_speaker), len(numbers))
        return self._recorded(speaker, take, speaker * 1000 + take, np.zeros(len(take)), seconds, nuisance)

    def retrieval(
        self, kind: Literal["easy", "hard"] = "hard", count: int = 256, seconds: float = FRAMES / FPS
    ) -> Recordings:
        """Clips of speakers that are in no other split: which sound belongs to which picture?

        Every speaker has four clips: two scripts, each spoken slowly and fast, so that neither voice nor words suffice.

        Args:
            kind: ``easy`` has little noise; ``hard`` has babble, dropped sound, occluders, repeated frames and an
                offset.
            count: clips, a multiple of 4.
            seconds: of a clip.
        """
        if kind not in ("easy", "hard"):
            raise UserError(f"retrieval is easy or hard, got {kind!r}")
        if count < 4 or count % 4:
            raise UserError(f"a retrieval set has a multiple of 4 clips, got {count}")
        order = np.arange(count)
        speaker, take = SPEAKERS["retrieval"].start + order // 4, order % 4
        script = speaker * 1000 + take // 2
        return self._recorded(
            speaker, take, script, np.where(take % 2, 0.88, 1.14), seconds, "clean" if kind == "easy" else "hard"
        )

    def detection(self, split: Split, per_class: int, methods: str = "ABCD", compressed: bool | float = False) -> Fakes:
        """Genuine clips and as many of each manipulation, without sound.

        Args:
            split: whose speakers.
            per_class: clips of a class; a clip has the same articulation whether compressed or not.
            methods: of A to D.
            compressed: whether clips are compressed, or which share of each class.
        """
        unknown = set(methods) - set(METHODS)
        if unknown or split not in ("train", "val", "test") or per_class < 1 or not 0 <= float(compressed) <= 1:
            raise UserError(
                f"detection takes a split of train, val, test (got {split!r}), one clip or more ({per_class}), methods of "
                f"{''.join(METHODS)} ({methods!r}) and a compressed share of 0..1 ({compressed})"
            )
        kinds = ["real", *methods]
        made = [self._forged(split, per_class, kind, float(compressed)) for kind in kinds]
        speaker = np.tile(self._speakers_of(split, per_class), len(kinds))
        method = np.repeat(kinds, per_class)
        names = [f"{split}_{kind}_{number:04d}" for kind in kinds for number in range(per_class)]
        return Fakes(np.concatenate(made), (method != "real").astype(np.int64), method, speaker, np.array(names))

    def blurred(self, split: Split, count: int, compressed: bool = False) -> np.ndarray:
        """The genuine clips of a split with B's trace but genuine motion, (count, 25, s, s): nothing that watches
        motion may call them fake."""
        return self._forged(split, count, "blurred", float(compressed))

    def _speakers_of(self, split: str, count: int) -> np.ndarray:
        return SPEAKERS[split].start + np.arange(count) % len(SPEAKERS[split])

    # -- clips with sound

    def _recorded(
        self,
        speaker: np.ndarray,
        take: np.ndarray,
        script: np.ndarray,
        speed: np.ndarray,
        seconds: float,
        nuisance: str,
    ) -> Recordings:
        if nuisance not in NUISANCES:
            raise UserError(f"the nuisance {nuisance!r} is unknown: choose of {', '.join(NUISANCES)}")

        def make() -> dict[str, np.ndarray]:
            return self._record(speaker, take, script, speed, seconds, nuisance)

        found = self._cached("recordings", (speaker, take, script, speed, seconds, nuisance), make)
        return Recordings(
            found["pictures"], found["sound"].astype(np.float32) / 32768, speaker, script, found["jaw"], found["spread"]
        )

    def _record(
        self,
        speaker: np.ndarray,
        take: np.ndarray,
        script: np.ndarray,
        speed: np.ndarray,
        seconds: float,
        nuisance: str,
    ) -> dict[str, np.ndarray]:
        kind, frames = NUISANCES[nuisance], round(seconds * FPS)
        people = draw_speakers(self.seed, speaker)
        rngs = [np.random.default_rng([self.seed, 2, *who]) for who in zip(speaker, take, strict=True)]
        said = [
            self._articulation(rng, int(number), float(rate), seconds)
            for rng, number, rate in zip(rngs, script, speed, strict=True)
        ]
        late = [rng.uniform(-1, 1) * kind.jitter for rng in rngs]
        motion = _motion(said, [head_motion(rng, frames) for rng in rngs], late)
        pictures = draw(people, motion, self.size)
        filmed_ = np.stack([filmed(clip, kind, rng) for clip, rng in zip(pictures, rngs, strict=True)])
        dry = np.stack(
            [
                sounds.voice(one, float(pitch), float(tract), float(tilt), rng)
                for one, rng, pitch, tract, tilt in zip(
                    said, rngs, people.voice, people.tract, people.tilt, strict=True
                )
            ]
        )
        count = len(dry)
        sound = []
        for number, rng in enumerate(rngs):
            # Voices of other speakers: the next clips of one speaker are not taken.
            others = sum(dry[(number + count // 2 + step * 5) % count] for step in range(3))
            recorded = heard(dry[number], np.asarray(others), kind, rng)
            sound.append(sounds.quantised(recorded, rng.uniform(0.5, 1.5)))
        return {
            "pictures": filmed_,
            "sound": np.stack(sound)[:, : frames * sounds.SAMPLE_RATE // FPS],
            "jaw": motion.jaw.astype(np.float32),
            "spread": motion.spread.astype(np.float32),
        }

    def _articulation(self, rng: np.random.Generator, script: int, speed: float, seconds: float) -> Articulation:
        words = draw_script(np.random.default_rng([self.seed, 3, script]), seconds)
        own = rng.uniform(0.8, 1.25)
        tau = (rng.uniform(0.035, 0.05), rng.uniform(0.035, 0.05))
        return articulate(words, speed or own, rng.uniform(0, 0.08), tau, seconds)

    # -- forged clips

    def _forged(self, split: str, count: int, kind: str, share: float) -> np.ndarray:
        def make() -> dict[str, np.ndarray]:
            speaker = self._speakers_of(split, count)
            number = ("real", *METHODS, "blurred").index(kind)
            # The blurred clips are the genuine ones but for the blur.
            rngs = [np.random.default_rng([self.seed, 4, SPEAKERS[split].start + n, number % 5]) for n in range(count)]
            scripts = [(SPEAKERS[split].start + n) * 10 + number % 5 for n in range(count)]
            seconds = FRAMES / FPS
            said = [
                self._articulation(rng, 10**8 + script, 0.0, seconds) for rng, script in zip(rngs, scripts, strict=True)
            ]
            motion = _motion(said, [head_motion(rng, FRAMES) for rng in rngs], [0.0] * count)
            if kind in METHODS:
                each = [
                    forged_motion(Motion(*(track[n] for track in motion)), kind, self.severity, rng)
                    for n, rng in enumerate(rngs)
                ]
                motion = Motion._make(np.stack(tracks) for tracks in zip(*each, strict=True))
            pictures = draw(draw_speakers(self.seed, speaker), motion, self.size)
            clips = []
            for n, (clip, rng) in enumerate(zip(pictures, rngs, strict=True)):
                if kind in METHODS:
                    clip = with_trace(clip, kind)
                elif kind == "blurred":
                    top, bottom, left, right = (round(part * self.size) for part in BOX)
                    clip[:, top:bottom, left:right] = blurred(clip[:, top:bottom, left:right], self.size)
                clip = filmed(clip, NUISANCES["clean"], rng)
                clips.append(compressed(clip, rng) if int((n + 1) * share) > int(n * share) else clip)
            return {"pictures": np.stack(clips)}

        return self._cached("forged", (split, count, kind, share, self.severity), make)["pictures"]

    # -- on disk

    def _cached(self, what: str, facts: tuple, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        if self.cache is None:
            return make()
        plain = [fact.tobytes() if isinstance(fact, np.ndarray) else fact for fact in facts]
        job = repr((self.seed, self.size, plain, _source_digest()))
        path = self.cache / f"{what}-{hashlib.sha256(job.encode()).hexdigest()[:16]}.npz"
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    return {name: arrays[name] for name in arrays.files}
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
                log.warning("%s is damaged (%s): made again", path, error)
        made = make()
        try:
            with replacing(path) as temporary, temporary.open("wb") as stream:
                np.savez(stream, **made)  # pyright: ignore[reportArgumentType]
        except OSError as error:
            log.warning("no cache in %s (%s): clips are made on every start", self.cache, error)
        return made


def _motion(said: list[Articulation], heads: list[np.ndarray], late: list[float]) -> Motion:
    frames = len(heads[0])
    jaw, upper, spread = (
        np.stack([at_frames(getattr(one, name), frames, FPS, by) for one, by in zip(said, late, strict=True)])
        for name in ("jaw", "upper", "spread")
    )
    return Motion(jaw, upper, spread, np.stack(heads))


@lru_cache(maxsize=1)
def _source_digest() -> str:
    """Of the code that draws: clips of another version are not taken from the cache."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
