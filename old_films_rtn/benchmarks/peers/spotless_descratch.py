"""SpotLess and DeScratch, for ``planted.py --vapoursynth PYTHON``: frames in by standard input, restored ones out.

Runs in an interpreter of its own, that has ``vapoursynth vapoursynth-mvtools vapoursynth-zsmooth vapoursynth-descratch numpy``
(Python 3.12 or newer), and imports nothing else. In: an array (t, h, w) uint8 as ``numpy.save`` writes it. Out: by
``numpy.savez`` an array of the same shape a method, and the CPU seconds a frame of each.
"""

import io
import sys
import time

import numpy as np
import vapoursynth as vs


def clip_of(frames):
    """A grey clip of VapourSynth's, of an array (t, h, w) uint8."""
    count, height, width = frames.shape
    blank = vs.core.std.BlankClip(None, width, height, vs.GRAY8, count, 24, 1, keep=True)

    def fill(n, f):
        frame = f.copy()
        np.copyto(np.asarray(frame[0]), frames[n])
        return frame

    return vs.core.std.ModifyFrame(blank, blank, fill)


def spotless(clip):
    """The median of three frames, both neighbours compensated for motion in blocks, as the script of that name does.

    Blocks of 32 pixels: of 4, 8, 16 and 32 they removed most dirt, and changed least beside it (one film, another seed).
    """
    fine = vs.core.mv.Super(clip, pel=2, sharp=1)
    options = {"blksize": 32, "overlap": 16, "search": 5, "truemotion": False, "delta": 1}
    sides = []
    for backward in (False, True):
        vectors = vs.core.mv.Analyse(fine, isb=backward, **options)
        sides.append(vs.core.mv.Compensate(clip, fine, vectors, thsad=10000, thscd1=10000, thscd2=255))
    beside = vs.core.std.Interleave([sides[0], clip, sides[1]])
    return vs.core.zsmooth.TemporalMedian(beside, radius=1).std.SelectEvery(3, 1)


def descratch(clip):
    """Near-vertical lines, dark and bright, up to the largest width that it takes."""
    # It takes no grey clips.
    colour = vs.core.resize.Point(clip, format=vs.YUV420P8, range_s="full", range_in_s="full", matrix_s="709")
    restored = vs.core.descratch.DeScratch(colour, mindif=5, maxwidth=15, minlen=64, modey=3, maxangle=5)
    return vs.core.std.ShufflePlanes(restored, 0, vs.GRAY)


METHODS = {
    "SpotLess": spotless,
    "DeScratch": descratch,
    "DeScratch, SpotLess": lambda clip: spotless(descratch(clip)),
}


def main():
    vs.core.num_threads = 1
    frames = np.load(io.BytesIO(sys.stdin.buffer.read()))
    # Mirrored at both ends: the first and the last frame have a neighbour on one side only, and would be left as they are.
    whole = np.concatenate([frames[2:0:-1], frames, frames[-2:-4:-1]])
    found = {}
    for name, method in METHODS.items():
        begun = time.process_time()
        restored = method(clip_of(whole))
        found[name] = np.stack([np.asarray(frame[0]).copy() for frame in restored.frames()])[2:-2]
        found[f"{name} seconds"] = np.float64((time.process_time() - begun) / len(whole))
    packed = io.BytesIO()
    np.savez(packed, **found)
    sys.stdout.buffer.write(packed.getvalue())


if __name__ == "__main__":
    main()
