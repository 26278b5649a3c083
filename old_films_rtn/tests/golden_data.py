"""Golden cases of the degradation and of the metrics."""

import numpy as np
import torch
from golden_network import inputs

from old_films_rtn import metrics
from old_films_rtn.data import degradation, textures


def run_blend(case):
    given = inputs(case)
    return {
        f"{mode}_{opacity}": degradation.blend(given["frame"], given["texture"], mode, opacity)
        for mode in degradation.BLEND_MODES
        for opacity in case.spec["opacities"]
    }


def run_blur_and_sharpen(case):
    frame = inputs(case)["frame"].astype(np.float32) / np.float32(255)
    ours = {}
    for number, (size, l1, l2, angle) in enumerate(case.spec["anisotropic"]):
        kernel = degradation.anisotropic_gaussian(size, l1, l2, angle)
        ours[f"kernel_aniso_{number}"], ours[f"blurred_aniso_{number}"] = kernel, degradation.blur(frame, kernel)
    for number, (size, sigma) in enumerate(case.spec["isotropic"]):
        ours[f"kernel_iso_{number}"] = degradation.isotropic_gaussian(size, sigma)
    grey = degradation.to_grey(frame)
    replicated = np.repeat(grey[..., None], 3, axis=2).astype(np.float32) / np.float32(255)
    return {**ours, "sharpened": degradation.sharpen(frame), "gray_u8": grey, "gray_roundtrip": replicated}


def run_quality(case):
    given, ours = inputs(case), {}
    for number, entry in enumerate(case.spec["frames"]):
        drawn = entry["params"]
        scale = 1.0
        if drawn["rnum"] > 0.8:
            scale = drawn["up_scale"]
        elif drawn["rnum"] < 0.7:
            scale = drawn["down_scale"]
        quality = degradation.Quality(
            anisotropic=drawn["type_value"] < 0.5,
            l1=drawn["l1_value"],
            l2=drawn["l2_value"],
            angle=drawn["angle_value"],
            kernel=2 * drawn["shape_value"] + 3,
            scale=scale,
            speckle=entry["noise_type"] == 2,
            noise_std=drawn["noise_std"],
            jpeg_quality=drawn["jpeg_quality"],
            down=entry["resample_down"],
            up=entry["resample_up"],
        )
        ours[f"degraded_{number}"] = degradation.degrade_quality(given[entry["frame"]], quality, given[entry["noise"]])
    return ours


def run_texture(case):
    texture, spec = inputs(case)["texture"], case.spec
    x, y, side, degrees = spec["crop"]
    crop = textures.rotated_crop(texture, (x, y, side), degrees, tuple(spec["target_wh"]))
    return {
        "max_area": np.array([textures.inscribed_rectangle(*rectangle) for rectangle in spec["rects"]]),
        "rotated_crop": crop,
        "dilated": textures.dilate(crop, 3),
        "contrast": textures.raise_contrast(crop, spec["contrast"]),
        "shift_left": textures.shift(crop, spec["distance"], left=True),
        "shift_right": textures.shift(crop, spec["distance"], left=False),
        "anchor_count": np.array([len(textures.anchors(texture))]),
    }


def run_metrics(case):
    given = inputs(case)
    pairs = list(zip(given["restored"], given["target"], strict=True))
    return {
        "psnr": np.array([metrics.psnr(*pair) for pair in pairs]),
        "ssim": np.array([metrics.ssim(*pair) for pair in pairs]),
        "psnr_crop4": np.array([metrics.psnr(*pair, crop=4) for pair in pairs]),
        "protocol_psnr": np.array([metrics.protocol_psnr(*pair) for pair in pairs]),
        "protocol_ssim": np.array([metrics.protocol_ssim(*pair) for pair in pairs]),
        "to_uint8_bgr": metrics.to_uint8(torch.from_numpy(given["tensor"])),
    }


ADAPTERS = {
    "blend": run_blend,
    "blur_sharpen": run_blur_and_sharpen,
    "quality_chain": run_quality,
    "texture_ops": run_texture,
    "metrics": run_metrics,
}
