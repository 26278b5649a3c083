"""The comparison at a size for tests: networks of a few channels, trainings of a step, one population for all seeds."""

from av_deepfake.commands.compare import main
from av_deepfake.comparison import Plan, training
from av_deepfake.procedural import Mouths

ENCODER = {"dim": 8, "depth": 1, "heads": 2, "mlp": 8, "dropout": 0.0}
NETWORK = {"widths": [8], "blocks": [1], **ENCODER}
SMALL = ["--speakers", "8", "--per_speaker", "1", "--rates", "0.001,0.003", "--train", "4", "--test", "4"]

_MADE = {}


def mouths(seed=0):
    """Drawn once, whatever the seed: what differs here is the trainings."""
    if not _MADE:
        _MADE["mouths"] = Mouths(7, 16, cache=None)
        for name in ("recordings", "retrieval", "detection", "blurred"):
            _remember(_MADE["mouths"], name)
    return _MADE["mouths"]


def _remember(of, name):
    make, made = getattr(of, name), {}

    def once(*arguments, **options):
        key = repr((arguments, options))
        if key not in made:
            made[key] = make(*arguments, **options)
        return made[key]

    setattr(of, name, once)


def shrink(patch):
    """Let ``compare`` train small networks for a step each."""
    real = Plan.__init__

    def small(self, *arguments, **options):
        short = {"pretraining": training.Pretraining(1, 8), "tuning_of": training.Tuning(1, batch_size=4)}
        real(self, *arguments, **{**options, **short, "galleries": (8, 8), "timed": 1})

    patch.setattr(Plan, "__init__", small)
    patch.setattr(training, "_ENCODER", ENCODER)
    patch.setattr(training, "VIDEO", {"channels": 8, **NETWORK})
    patch.setattr(training, "AUDIO", NETWORK)
    patch.setattr("av_deepfake.comparison.grid._DRAWS", 1)
    patch.setattr("av_deepfake.comparison.grid.Comparison.mouths", lambda self, seed: mouths())
    patch.setattr("av_deepfake.comparison.report._CLIPS", 8)


def compare(folder, *arguments):
    """Run the command with small sizes; its status."""
    return main(["--out", str(folder), "--seeds", "0", *SMALL, *arguments])
