"""Modulated deformable convolution (DCNv2, Zhu et al. 2019), parameter for parameter as the published extension.

On a GPU torchvision's kernel does the work. On the CPU that kernel is most of the network's time, so there the layer is
four weighted row gathers a tap (``embedding_bag``) and one matrix product: the same numbers and gradients, an order of
magnitude sooner, and any floating type.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Output positions worked on at once where no gradient is kept: their gathered rows then stay in the cache.
_CHUNK = 512


def deform_conv2d(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 1
) -> Tensor:
    """sum_k weight_k . mask_k . x(p + tap_k + offset_k), bilinear, zero outside of the map.

    Args:
        x: (B, C, H, W).
        offset: (B, 2K, H', W'), channels (2k, 2k+1) = (dy, dx) of tap k in row-major order, in cells.
        mask: (B, K, H', W').
        weight: (O, C, kernel, kernel) with K = kernel^2.
        bias: (O,).
        stride: of the output positions.
        padding: zeros around the map.

    Returns:
        (B, O, H', W') in x's type.
    """
    if x.is_cuda:
        from torchvision.ops import deform_conv2d as kernel

        # The kernel knows half and float32, not bfloat16; sampling positions want float32 anyway.
        with torch.autocast("cuda", enabled=False):
            moved = kernel(
                x.float(),
                offset.float(),
                weight.float(),
                bias.float(),
                (stride, stride),
                (padding, padding),
                mask=mask.float(),
            )
            return moved.to(x.dtype)
    with torch.autocast("cpu", enabled=False):
        return _deform_conv2d_by_rows(x, offset, mask, weight, bias, stride, padding)


def _deform_conv2d_by_rows(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int
) -> Tensor:
    # float64 stays (gradient checks); everything shorter is computed in float32, which the CPU does faster than bfloat16.
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    batch, channels, height, width = x.shape
    num_taps, (out_height, out_width) = weight.shape[2] * weight.shape[3], offset.shape[2:]
    index, share = _corners(offset.to(kind), mask.to(kind), (height, width), weight.shape[2], stride, padding)
    rows = x.to(kind).permute(0, 2, 3, 1).reshape(-1, channels)
    matrix = weight.to(kind).permute(2, 3, 1, 0).reshape(num_taps * channels, -1)

    def columns(index: Tensor, share: Tensor) -> Tensor:
        if torch.compiler.is_exporting():  # embedding_bag is in no exchange format
            return (rows[index] * share[..., None]).sum(1).view(-1, num_taps * channels)
        return F.embedding_bag(index, rows, per_sample_weights=share, mode="sum").view(-1, num_taps * channels)

    num_positions = batch * out_height * out_width
    needs_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (rows, share, matrix))
    if needs_gradient or torch.compiler.is_exporting():
        out = columns(index, share) @ matrix
    else:
        out = rows.new_empty(num_positions, matrix.shape[1])
        for start in range(0, num_positions, _CHUNK):
            bags = slice(start * num_taps, (start + _CHUNK) * num_taps)
            torch.mm(columns(index[bags], share[bags]), matrix, out=out[start : start + _CHUNK])
    out = (out + bias.to(kind)).view(batch, out_height, out_width, -1)
    return out.permute(0, 3, 1, 2).to(x.dtype)


def _corners(
    offset: Tensor, mask: Tensor, size: tuple[int, int], kernel: int, stride: int, padding: int
) -> tuple[Tensor, Tensor]:
    """The four cells around every sampling position, as rows of the flattened maps, and their shares.

    Returns (B * positions * K, 4) indices (int32) and shares: bilinear weight times mask, 0 for a cell outside.
    """
    batch, _, out_height, out_width = offset.shape
    height, width = size
    num_taps, device = kernel * kernel, offset.device
    offset = offset.reshape(batch, num_taps, 2, -1).permute(0, 3, 1, 2)
    mask = mask.reshape(batch, num_taps, -1).transpose(1, 2)
    tap = torch.arange(kernel, device=device) - padding
    row = (torch.arange(out_height, device=device) * stride).repeat_interleave(out_width)[:, None]
    column = (torch.arange(out_width, device=device) * stride).repeat(out_height)[:, None]
    y = offset[..., 0] + (row + tap.repeat_interleave(kernel))
    x = offset[..., 1] + (column + tap.repeat(kernel))
    # A position that is not a number reads from cell 0, and its share makes the result not a number.
    top, left = (torch.nan_to_num(position.detach().floor()) for position in (y, x))
    dy, dx = y - top, x - left
    first = (torch.arange(batch, device=device, dtype=torch.int32) * (height * width))[:, None, None]
    indices, shares = [], []
    for cell_y, share_y in ((top, 1 - dy), (top + 1, dy)):
        start = cell_y.clamp(0, height - 1).int() * width + first
        share_y = share_y * mask * ((cell_y >= 0) & (cell_y < height))
        for cell_x, share_x in ((left, 1 - dx), (left + 1, dx)):
            indices.append(start + cell_x.clamp(0, width - 1).int())
            shares.append(share_y * share_x * ((cell_x >= 0) & (cell_x < width)))
    return torch.stack(indices, -1).view(-1, 4), torch.stack(shares, -1).view(-1, 4)


class DCN(nn.Module):
    """A DCNv2 layer: its own 3 x 3 convolution predicts offsets and masks, zero at first (offset 0, mask 1/2).

    Entries: ``weight``, ``bias``, ``conv_offset_mask.weight``, ``conv_offset_mask.bias``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, padding: int = 1
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        bound = (in_channels * kernel_size**2) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.conv_offset_mask = nn.Conv2d(in_channels, 3 * kernel_size**2, kernel_size, stride, padding)
        nn.init.zeros_(self.conv_offset_mask.weight)
        assert self.conv_offset_mask.bias is not None
        nn.init.zeros_(self.conv_offset_mask.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        predicted = self.conv_offset_mask(x)
        split = predicted.shape[1] // 3 * 2
        offset, mask = predicted[:, :split], torch.sigmoid(predicted[:, split:])
        return deform_conv2d(x, offset, mask, self.weight, self.bias, self.stride, self.padding)
