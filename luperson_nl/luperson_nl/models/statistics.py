"""Means and standard deviations of pixels, RGB in 0..1, of the sets that trunks were pre-trained on."""

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]

#: By the published names. ``imagenet_person`` is what the published table calls ``imagenet`` and is not ImageNet's.
STATISTICS: dict[str, Statistics] = {
    "lmdb_200_20": ((0.3452, 0.3070, 0.3114), (0.2633, 0.2500, 0.2480)),
    "lmdb_300_30": ((0.3463, 0.3077, 0.3120), (0.2648, 0.2512, 0.2492)),
    "lmdb_100_10": ((0.3446, 0.3067, 0.3111), (0.2616, 0.2487, 0.2466)),
    "lup": ((0.3525, 0.3106, 0.3140), (0.2660, 0.2522, 0.2505)),
    "imagenet_person": ((0.3430, 0.3080, 0.3220), (0.2520, 0.2400, 0.2430)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
