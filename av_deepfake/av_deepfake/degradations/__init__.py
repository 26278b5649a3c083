"""What happens to videos on their way: seven perturbations at five levels, applied before faces are looked for."""

from av_deepfake.degradations.videos import KINDS, Degradation, degradation, degrade

__all__ = ["KINDS", "Degradation", "degradation", "degrade"]
