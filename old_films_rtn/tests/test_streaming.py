"""Streaming is exact: chunks, tiles, windows and interruptions do not show in the result."""

from itertools import pairwise

import films
import numpy as np
import pytest
import torch

from old_films_rtn import tiles
from old_films_rtn.flow import DIS, NoFlow, clip_flows
from old_films_rtn.models.raft import RAFT, Features, volume_bytes
from old_films_rtn.models.rtn import RTN
from old_films_rtn.models.swin import RestorationTransformer
from old_films_rtn.pair_flows import PairFlows
from old_films_rtn.pretrained import flow_source
from old_films_rtn.streaming import RestorationCell, restore_shot, restore_windows, window_schedule
from old_films_rtn.tiles import halo, mirrored, padded, tiled
from shared_utils import UserError


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return RTN(width=16, depths=(2,), num_heads=2).eval()


@pytest.fixture(scope="module")
def clip():
    pictures = np.stack([padded(picture) for picture in films.moving(9, height=32, width=64)])
    return torch.from_numpy(pictures).float().div(127.5).sub(1)[None, :, None].expand(-1, -1, 3, -1, -1)


@pytest.fixture(scope="module")
def frames(clip):
    return list(clip.unbind(1))


@pytest.fixture(scope="module")
def whole(model, clip):
    with torch.no_grad():
        return model(clip, *clip_flows(DIS(), clip))


@pytest.fixture(scope="module")
def start(model, clip):
    """The network on the first three frames alone: what needs many tiles or slow arithmetic is compared on these."""
    with torch.no_grad():
        return model(clip[:, :3], *clip_flows(DIS(), clip[:, :3]))[0]


def difference(restored, expected):
    restored = list(restored)
    assert [result.index for result in restored] == list(range(expected.shape[1]))
    return max(float((result.output - expected[:, result.index]).abs().max()) for result in restored)


@pytest.mark.parametrize("chunk", [1, 2, 4, 8, 9, 40])
def test_the_result_does_not_depend_on_the_chunk(model, frames, whole, chunk, tmp_path):
    restored = restore_shot(RestorationCell(model), frames, DIS(), chunk=chunk, scratch=tmp_path)
    assert difference(restored, whole[0]) < 1e-5


def test_flows_that_are_made_again_take_no_room_on_disk_and_others_wait_there(model, frames, whole, tmp_path):
    class Kept(DIS):
        made_again = False

    stored = {}
    for source in (DIS(), Kept()):
        folder = tmp_path / type(source).__name__
        restored = []
        for result in restore_shot(RestorationCell(model), frames, source, chunk=2, scratch=folder):
            restored.append(result)
            stored.setdefault(type(source), set()).update(path.stem.partition("_")[0] for path in folder.iterdir())
        assert difference(restored, whole[0]) < 1e-5
    assert stored == {DIS: {"backward", "forward"}, Kept: {"backward", "forward", "flows"}}


def test_a_shot_of_one_frame_is_restored_without_neighbours(model, frames):
    (result,) = restore_shot(RestorationCell(model), frames[:1], DIS())
    with torch.no_grad():
        expected = model(frames[0][:, None], *clip_flows(DIS(), frames[0][:, None]))[0][:, 0]
    assert torch.allclose(result.output, expected, atol=1e-6)


def test_look_ahead_is_exact_as_soon_as_it_reaches_the_end_and_close_before(model, frames, whole, tmp_path):
    def run(lookahead):
        cell = RestorationCell(model)
        return difference(restore_shot(cell, frames, DIS(), chunk=3, lookahead=lookahead, scratch=tmp_path), whole[0])

    assert run(6) < 1e-5
    assert run(2) < run(0)


def test_an_interrupted_shot_goes_on_where_it_stopped(model, frames, whole, tmp_path):
    finished, outputs = [0], {}
    for result in restore_shot(
        RestorationCell(model), frames, DIS(), chunk=2, scratch=tmp_path, on_chunk=finished.append
    ):
        outputs[result.index] = result.output
        if result.index == 5:
            break  # frame 5 was taken, but its chunk was not reported as finished
    assert finished[-1] == 4

    class Counting(RestorationCell):
        decoded = 0

        def decode(self, *arguments):
            self.decoded += 1
            return super().decode(*arguments)

    cell = Counting(model)
    for result in restore_shot(cell, frames, DIS(), chunk=2, scratch=tmp_path, finished=4, on_chunk=finished.append):
        outputs[result.index] = result.output
    assert cell.decoded == 5
    assert max(float((outputs[i] - whole[0][:, i]).abs().max()) for i in range(9)) < 1e-5


def test_scratch_files_do_not_pile_up(model, frames, tmp_path):
    most = 0
    for _ in restore_shot(RestorationCell(model), frames, NoFlow(), chunk=1, lookahead=0, scratch=tmp_path):
        most = max(most, len(list(tmp_path.iterdir())))
    assert most <= 2 and len(list(tmp_path.iterdir())) <= 1


@pytest.mark.parametrize("tile", [16, 32, 48])
def test_tiles_do_not_show(model, frames, start, tile):
    assert difference(restore_shot(RestorationCell(model, tile=tile), frames[:3], DIS()), start) < 1e-5


def test_networks_of_our_own_form_stream_exactly_too(clip, frames, tmp_path):
    torch.manual_seed(0)
    own = RTN(width=16, depths=(2,), num_heads=2, tanh_residual=False).eval()
    for module in (own.output, own.forward_transformer.conv_last, own.backward_transformer.conv_last):
        torch.nn.init.normal_(module.weight, std=0.05)
    with torch.no_grad():
        expected = own(clip, *clip_flows(DIS(), clip))[0]
    cell = RestorationCell(own, tile=32)
    assert difference(restore_shot(cell, frames, DIS(), chunk=2, scratch=tmp_path), expected) < 1e-5


def test_the_halo_of_the_published_transformer_suffices():
    torch.manual_seed(0)
    transformer = RestorationTransformer().eval()
    for name, parameter in transformer.named_parameters():
        if "relative_position_bias_table" in name or name.endswith("qkv.weight"):
            torch.nn.init.normal_(parameter, std=0.3)  # attention that looks at single places
    features = torch.randn(1, 16, 16, 256)
    assert halo(transformer) == 96
    with torch.no_grad():
        reference = transformer(features)
        assert (tiled(transformer, [features], 32, 96) - reference).abs().max() < 1e-5
        assert (tiled(transformer, [features], 32, 16) - reference).abs().max() > 1e-4  # so the test can fail


def test_running_out_of_memory_makes_tiles_smaller_and_says_so(model, frames, whole, monkeypatch, caplog):
    def limited(function, inputs, tile, halo):
        if tile > 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tiled(function, inputs, tile, halo)

    monkeypatch.setattr(tiles, "tiled", limited)
    monkeypatch.setattr(tiles, "_SMALLEST_TILE", 16)
    cell = RestorationCell(model)
    assert difference(restore_shot(cell, frames, DIS()), whole[0]) < 1e-5
    assert cell.runner.tile == 32 and "32 pixels" in caplog.text
    monkeypatch.setattr(tiles, "_SMALLEST_TILE", 64)
    with pytest.raises(UserError, match="out of memory"):
        next(iter(restore_shot(RestorationCell(model), frames, DIS())))


def test_other_errors_are_not_taken_for_a_lack_of_memory(model, frames):
    with pytest.raises(RuntimeError):
        next(iter(restore_shot(RestorationCell(model), [frame[:, :2] for frame in frames], DIS())))


@pytest.mark.parametrize(("window", "step"), [(4, 2), (5, 3), (20, 10)])
def test_published_windows_equal_the_network_on_those_windows(model, clip, frames, window, step):
    expected = torch.empty_like(clip)
    for start, stop, kept in window_schedule(9, window, step):
        part = clip[:, start:stop]
        with torch.no_grad():
            expected[:, kept:stop] = model(part, *clip_flows(DIS(), part))[0][:, kept - start :]
    restored = restore_windows(RestorationCell(model), frames, DIS(), window=window, step=step)
    assert difference(restored, expected) < 1e-5


def test_windows_that_leave_frames_out_are_refused():
    with pytest.raises(UserError, match="cannot advance by 5"):
        window_schedule(30, 4, 5)


def test_half_precision_stays_close_and_keeps_the_flow_whole(model, frames, start):
    restored = list(restore_shot(RestorationCell(model, precision="bf16"), frames[:3], DIS()))
    assert len(restored) == 3
    error = torch.stack([result.output - start[:, result.index] for result in restored]).div(2)
    assert -10 * torch.log10(error.square().mean()) >= 40
    assert all(result.output.dtype == torch.float32 for result in restored)


@pytest.mark.parametrize(("length", "target"), [(1, 16), (2, 16), (7, 16), (64, 64), (97, 112)])
def test_reflection_reaches_any_size(length, target):
    at = mirrored(length, target)
    assert len(at) == target and at.min() >= 0 and at.max() < length
    assert np.array_equal(at[:length], np.arange(length))
    assert (np.abs(np.diff(at)) <= 1).all()


def test_dis_follows_a_shift_and_encodes_every_frame_once(frames):
    base = torch.from_numpy(films.texture(0, 80, 100, 3)).float().div(127.5).sub(1)
    a, b = base[None, None, :64, :80], base[None, None, 2:66, 3:83]
    dis = DIS()
    flow = dis.flow(dis.features(a), dis.features(b))[0, :, 16:-16, 16:-16]
    assert flow[0].mean() == pytest.approx(-3, abs=0.3) and flow[1].mean() == pytest.approx(-2, abs=0.3)
    calls = []

    class Counting(DIS):
        def features(self, frames):
            calls.append(1)
            return super().features(frames)

    for order in (range(8), reversed(range(8))):
        flows = PairFlows(Counting(), frames)
        for i in order:
            flows.pair(i)
        assert len(calls) == 9
        calls.clear()


def test_raft_in_batches_of_pairs_and_directions_is_exact(frames):
    torch.manual_seed(0)
    raft, sizes = RAFT(), []
    encoded = [raft.features(frame) for frame in frames[:4]]
    alone = [(raft.flow(b, a, 2), raft.flow(a, b, 2)) for a, b in pairwise(encoded)]

    class Counting:
        features = staticmethod(raft.features)

        @staticmethod
        def flow(a, b):
            sizes.append(len(a.matching))
            return raft.flow(a, b, 2)

    flows = PairFlows(Counting(), frames[:4])
    together = {i: flows.pair(i) for i in (2, 1, 0)}
    assert sizes == [4, 2]
    for i, expected in enumerate(alone):
        assert all(torch.allclose(*each, atol=1e-4) for each in zip(together[i], expected, strict=True))
    whole = clip_flows(Counting(), torch.stack(frames[:4], 1))
    assert all(torch.allclose(whole[0][:, i], forward, atol=1e-4) for i, (forward, _) in enumerate(alone))
    assert all(torch.allclose(whole[1][:, i], backward, atol=1e-4) for i, (_, backward) in enumerate(alone))


def test_raft_takes_as_many_pairs_at_a_time_as_their_volumes_have_room(frames, monkeypatch):
    torch.manual_seed(0)
    raft, sizes = RAFT(), []
    a, b = (Features.joined([raft.features(frame)] * 5) for frame in frames[:2])
    expected, coarse = raft.flow(a, b, 1), raft.coarse
    monkeypatch.setattr(raft, "coarse", lambda a, *rest: sizes.append(len(a.matching)) or coarse(a, *rest))
    for room, expected_sizes in ((2.5, [2, 2, 1]), (0.5, [1] * 5)):
        sizes.clear()
        raft.volume_limit = int(room * volume_bytes(a))
        assert torch.allclose(raft.flow(a, b, 1), expected, atol=1e-3) and sizes == expected_sizes


def test_flow_sources_by_name(tmp_path):
    raft = RAFT()
    assert flow_source("auto", raft) is raft and flow_source("checkpoint", raft) is raft
    assert isinstance(flow_source("auto"), DIS) and isinstance(flow_source("none"), NoFlow)
    with pytest.raises(UserError, match=r"raft-sintel\.pth.*import_checkpoint"):
        flow_source("checkpoint")
    with pytest.raises(UserError, match="not known"):
        flow_source("spynet")
    with pytest.raises(UserError, match=r"nowhere\.pth"):
        flow_source(f"raft:{tmp_path / 'nowhere.pth'}")


def test_dis_takes_a_speck_of_dirt_for_no_motion():
    base = torch.from_numpy(films.texture(0, 64, 80, 3)).float().div(127.5).sub(1)[None, None]
    dirty = base.clone()
    dirty[..., 20:22, 30] = 1
    dirty[..., 40, 50:52] = -1
    dis = DIS()
    (clean,), (seen,) = (dis.features(frames)[0] for frames in (base, dirty))
    assert np.abs(clean.astype(int) - seen).max() <= 40  # of the 130 of a speck
