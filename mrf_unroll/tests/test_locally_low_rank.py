"""Locally low rank reconstruction: its proximal map by its definition, and what it is for."""

import pytest
import torch

from mrf_unroll.locally_low_rank import locally_low_rank, shrink_blocks


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_singular_values_of_every_block_are_shrunk(dtype):
    x = torch.randn(2, 3, 8, 12, dtype=dtype, generator=torch.Generator().manual_seed(0))
    shrunk = shrink_blocks(x, 3.5, 4)
    smallest = []
    for top in (0, 4):
        for left in (0, 4, 8):
            block, found = (value[0, :, top : top + 4, left : left + 4].flatten(1) for value in (x, shrunk))
            u, values, v = torch.linalg.svd(block, full_matrices=False)
            smallest.append(float(values.min()))
            torch.testing.assert_close(found, u @ torch.diag((values - 3.5).clamp(min=0)).to(dtype) @ v)
    assert min(smallest) < 3.5  # some are cut off


def test_shifted_blocks_are_those_of_a_shifted_image():
    x = torch.randn(1, 3, 13, 10, generator=torch.Generator().manual_seed(0))
    larger = torch.nn.functional.pad(x, (1, 1, 3, 0))  # the grid of blocks begins 3 rows and a column before the image
    torch.testing.assert_close(shrink_blocks(x, 1.0, 4, (3, 1)), shrink_blocks(larger, 1.0, 4)[..., 3:, 1:-1])
    torch.testing.assert_close(shrink_blocks(x, 0.0, 4, (2, 3)), x, rtol=1e-4, atol=1e-5)


def test_a_piecewise_constant_object_is_found_from_fewer_measurements_than_unknowns():
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(1, 4, 12, 12)
    x[0, :, :6] = torch.randn(4, 1, 1, generator=generator)
    x[0, :, 6:] = torch.randn(4, 1, 1, generator=generator)
    matrix = torch.randn(300, 576, generator=generator) / 24
    gram = matrix.T @ matrix

    def normal(value):
        return (value.flatten(1) @ gram).reshape(value.shape)

    h, norm = normal(x), float(torch.linalg.matrix_norm(gram, 2))
    found = locally_low_rank(h, normal, norm, lam=0.01 * norm, iterations=150, block=6)
    least = (torch.linalg.pinv(gram, hermitian=True, rtol=1e-5) @ h.flatten()).reshape(x.shape)
    errors = [float((value - x).norm() / x.norm()) for value in (found.x, least)]
    assert errors[0] < 0.4 * errors[1], errors
    assert float(found.history[-1]) < 0.02
