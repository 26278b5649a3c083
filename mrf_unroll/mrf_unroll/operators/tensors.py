"""What the operators ask of the tensors that they are given: precision, and coil maps that fit."""

from __future__ import annotations

import copy

import torch


def exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def full_precision(x: torch.Tensor, keep_real: bool = False) -> torch.Tensor:
    """Half precision becomes single; real becomes complex unless it may stay."""
    if x.is_complex():
        return x.to(torch.complex64) if x.dtype == torch.complex32 else x
    x = x if x.dtype == torch.float64 else x.float()
    return x if keep_real else x.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)


def checked_maps(coil_maps: torch.Tensor | None, image_size: tuple[int, int]) -> torch.Tensor | None:
    if coil_maps is None:
        return None
    if coil_maps.ndim not in (3, 4) or tuple(coil_maps.shape[-2:]) != image_size:
        raise ValueError(f"coil_maps {tuple(coil_maps.shape)} do not fit images of {image_size}: (C, H, W) is needed")
    # A map of ones changes nothing, and without it real images take half the work.
    uniform = coil_maps.shape[-3] == 1 and bool((coil_maps == 1).all())
    return None if uniform else coil_maps.detach()


def each_coil(coil_maps: torch.Tensor | None, dtype: torch.dtype):
    """Per coil its map, (1, H, W) or (B, 1, H, W) to broadcast over the components; None for the uniform coil."""
    if coil_maps is None:
        return [None]
    maps = coil_maps.to(dtype)
    return [maps[..., coil : coil + 1, :, :] for coil in range(maps.shape[-3])]


def with_other_maps(module, coil_maps):
    other = copy.copy(module)
    other._buffers = dict(module._buffers)
    maps = checked_maps(coil_maps, module.image_size)
    other._buffers["coil_maps"] = None if maps is None else maps.to(next(iter(module.buffers())).device)
    return other
