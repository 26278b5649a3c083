"""Laws of the network: sizes, recurrence, identity start, flow that never trains, and the cheaper ways that must agree."""

import pytest
import torch

from old_films_rtn.flow import clip_flows
from old_films_rtn.models.discriminator import SpectralNorm, TemporalPatchDiscriminator
from old_films_rtn.models.raft import RAFT, CorrelationOnDemand, CorrelationVolume
from old_films_rtn.models.rtn import RTN, GuidedAggregation, warp
from shared_utils import UserError

torch.set_num_threads(1)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def small(tanh_residual=True):
    torch.manual_seed(0)
    return RTN(8, 32, (2,), 2, tanh_residual).eval()


def clip_and_flows(n=1, t=4, height=32, width=48, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clip = torch.rand(n, t, 3, height, width, generator=generator) * 2 - 1
    flows = torch.randn(2, n, t - 1, 2, height, width, generator=generator) * 3
    return clip, flows[0], flows[1]


def test_parameter_counts_are_the_published_ones():
    rtn = RTN()
    assert parameters(rtn) == 921_205
    assert parameters(rtn.forward_aggregation) == 2_905
    assert parameters(rtn.forward_transformer) == 451_688
    assert parameters(RAFT()) == 5_257_536
    assert parameters(rtn) + parameters(RAFT()) == 6_178_741
    for version, count in ((2, 4_315_328), (1, 17_832_256)):
        assert parameters(TemporalPatchDiscriminator(version=version)) == count


@torch.no_grad()
def test_warping_by_a_whole_pixel_moves_the_image_and_reads_zero_outside():
    image = torch.rand(1, 2, 6, 7)
    flow = torch.zeros(1, 2, 6, 7)
    flow[:, 0] = 1
    moved = warp(image, flow)
    assert torch.allclose(moved[..., :-1], image[..., 1:], atol=1e-6) and (moved[..., -1] == 0).all()
    assert torch.allclose(warp(image, flow, "border")[..., -1], image[..., -1], atol=1e-6)


def test_warping_in_half_precision_keeps_its_places_in_single_precision():
    image = torch.zeros(1, 1, 2, 4096, dtype=torch.bfloat16)
    image[..., 4001] = 1
    flow = torch.zeros(1, 2, 2, 4096)
    flow[:, 0] = 1
    moved = warp(image, flow)
    assert moved.dtype == torch.bfloat16 and moved[0, 0, 0, 4000] == 1 and moved.float().sum() == 2


@torch.no_grad()
def test_an_untrained_network_of_our_form_leaves_a_still_film_alone():
    clip = clip_and_flows(t=1)[0].expand(-1, 4, -1, -1, -1)
    nothing = torch.zeros(1, 3, 2, 32, 48)
    restored, forward_mask, backward_mask = small(tanh_residual=False)(clip, nothing, nothing)
    assert torch.allclose(restored, clip, atol=1e-6)
    assert forward_mask.shape == backward_mask.shape == (1, 4, 1, 32, 48)


@pytest.mark.parametrize("where", [0, 2, 3])
@torch.no_grad()
def test_an_untrained_network_of_our_form_removes_a_speck_that_shows_once_even_at_the_ends(where):
    clip = clip_and_flows(t=1)[0].clamp(-0.5, 0.5).expand(-1, 4, -1, -1, -1).clone()
    clean = clip.clone()
    clip[:, where, :, 10:14, 20:24] = 1
    nothing = torch.zeros(1, 3, 2, 32, 48)
    restored, forward_mask, backward_mask = small(tanh_residual=False)(clip, nothing, nothing)
    inside = (slice(None), where, slice(None), slice(10, 14), slice(20, 24))
    assert (restored - clean)[inside].abs().mean() < 0.2 * (clip - clean)[inside].abs().mean()
    for mask, head in ((forward_mask, 0), (backward_mask, 3)):
        assert where == head or mask[inside].min() > 0.8


@torch.no_grad()
def test_the_gates_of_our_form_open_where_the_residual_is_large():
    gate = GuidedAggregation(8, follow_residual=True)
    state = torch.zeros(1, 8, 16, 16)
    residual = torch.zeros(1, 1, 16, 16)
    residual[..., 4:12, 4:12] = 1.0
    mask = gate.mask(state, state, residual)
    assert mask[..., 6:10, 6:10].min() > 0.9 and mask[..., 0, 0] < 0.2


@torch.no_grad()
def test_a_clip_of_one_frame_takes_both_directions_from_its_embedding():
    rtn = small()
    frame = torch.rand(1, 1, 3, 32, 32)
    nothing = frame.new_zeros(1, 0, 2, 32, 32)
    restored = rtn(frame, nothing, nothing)[0][:, 0]
    states = [rtn.restore(direction, rtn.embed(frame[:, 0], direction)) for direction in ("backward", "forward")]
    assert torch.allclose(restored, rtn.decode(frame[:, 0], *states), atol=1e-6)


@torch.no_grad()
def test_the_forward_state_is_causal():
    rtn = small()
    clip, forward_flow, backward_flow = clip_and_flows(t=5)
    whole = rtn(clip, forward_flow, backward_flow)[1]
    start = rtn(clip[:, :3], forward_flow[:, :2], backward_flow[:, :2])[1]
    assert torch.allclose(whole[:, :3], start, atol=1e-6)


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other():
    rtn = small()
    clip, forward_flow, backward_flow = clip_and_flows(n=2)
    both = rtn(clip, forward_flow, backward_flow)[0]
    one = rtn(clip[1:], forward_flow[1:], backward_flow[1:])[0]
    assert torch.allclose(both[1:], one, atol=1e-5)


def test_checkpointing_gives_the_same_gradients():
    clip, forward_flow, backward_flow = clip_and_flows(t=3)
    gradients = []
    for checkpointing in (False, True):
        rtn = small().train()
        rtn.checkpointing = checkpointing
        rtn(clip, forward_flow, backward_flow)[0].square().mean().backward()
        gradients.append([parameter.grad for parameter in rtn.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


def test_a_size_that_windows_do_not_divide_is_refused_by_name():
    clip, forward_flow, backward_flow = clip_and_flows(height=40)
    with pytest.raises(UserError, match="48x40: pad them to multiples of 16"):
        small()(clip, forward_flow, backward_flow)


@torch.no_grad()
def test_correlation_on_demand_equals_the_volume():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 2, 32, 17, 21, generator=generator)
    places = torch.rand(2, 2, 17, 21, generator=generator) * 40 - 8
    places[0, :, 0, 0] = torch.tensor([1e6, -1e6])
    volume, on_demand = CorrelationVolume(a, b)(places), CorrelationOnDemand(a, b)(places)
    assert torch.allclose(volume, on_demand, atol=1e-5)
    # A flow that is smooth but for one block: windows that a block shares, and pixels that are looked up one by one.
    y, x = torch.meshgrid(torch.arange(17.0), torch.arange(21.0), indexing="ij")
    smooth = torch.stack((x + 1.3 * torch.sin(y / 5) - 2.4, y + 0.4 * x - 3.7)).expand(2, -1, -1, -1).clone()
    smooth[1, :, 9:12, 3] += 60
    looked_up = []

    class Counted(CorrelationOnDemand):
        def _products(self, level, whole):
            reach = (whole.amax(1) - whole.amin(1)).amax(1) + 10
            looked_up.append(int((reach > self.WIDEST).sum()))
            return super()._products(level, whole)

    assert torch.allclose(CorrelationVolume(a, b)(smooth), Counted(a, b)(smooth), atol=1e-5)
    assert looked_up[0] == 1 and looked_up[-1] == 0


@torch.no_grad()
def test_raft_takes_any_size_and_gives_no_nan():
    torch.manual_seed(0)
    raft = RAFT()
    clip = torch.rand(1, 2, 3, 64, 97) * 2 - 1
    forward, backward = clip_flows(raft, clip)
    assert forward.shape == backward.shape == (1, 1, 2, 64, 97)
    assert torch.isfinite(forward).all() and torch.isfinite(backward).all()


def test_raft_stays_in_evaluation_mode_inside_a_model_that_trains():
    parent = torch.nn.ModuleDict({"flow": RAFT()}).train()
    assert not any(module.training for module in parent["flow"].modules())
    assert not any(parameter.requires_grad for parameter in parent.parameters())


def test_spectral_norm_divides_by_the_largest_singular_value():
    weight = torch.randn(6, 5, 3)
    norm = SpectralNorm(weight).train()
    for _ in range(200):
        norm(weight)
    assert torch.linalg.matrix_norm(norm.eval()(weight).flatten(1), 2) == pytest.approx(1, abs=1e-4)
