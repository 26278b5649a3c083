"""How much faster the same weights give the same film than in the published order of work, and in how much memory.

    OMP_NUM_THREADS=1 python benchmarks/speed.py

The published order is written out below as its description says: both frames of every pair are encoded for every pair and
direction, every update of the flow computes its whole gates, the upsampling mask and the upsampled flow, attention masks
are built for every block, and a film goes through windows of 20 frames every 10 that share nothing. CPU time of one thread
in one process; ratios are what counts. Peak memory is measured in fresh processes.
"""

import sys
import time

from shared_utils import cli


def speed(
    clip: str = "10x256x448",
    film: str = "60x128x128",
    training: str = "4x128x128",
    lookup: str = "1088x1920",
    memory: str = "368x656,720x1280,1088x1920",
    threads: int = 1,
) -> None:
    """Print CPU time in the published order over ours, the largest difference of the outputs, and peak memory.

    Args:
        clip: frames x height x width of a clip that is restored in one go; none leaves it out.
        film: of a film that goes through windows of 20 frames every 10, and through streaming.
        training: of a training clip.
        lookup: height x width of frames between which correlations are looked up on demand once, every pixel by itself and
            in windows that blocks of pixels share.
        memory: height x width of films whose peak memory is measured, with commas between.
        threads: of torch.
    """
    import torch

    from shared_utils.logging import table

    torch.set_num_threads(threads)
    rtn, raft = network()
    rows = []
    if clip != "none":
        frames = moving_clip(*map(int, clip.split("x")))
        reference, slow = timed(lambda: published_clip(rtn, raft, frames))
        ours, fast = timed(lambda: streamed(rtn, raft, frames))
        rows.append(row(f"one clip, {clip}", slow, fast, ours, reference))
    if film != "none":
        frames = moving_clip(*map(int, film.split("x")))
        reference, slow = timed(lambda: published_film(rtn, raft, frames))
        ours, fast = timed(lambda: windowed(rtn, raft, frames))
        rows.append(row(f"film, published windows, {film}", slow, fast, ours, reference))
        ours, fast = timed(lambda: streamed(rtn, raft, frames))
        # Streaming differs from windows on purpose; that it equals the network on the whole film is held by the tests.
        rows.append(row(f"film, streaming, {film}", slow, fast, ours, None))
    if training != "none":
        frames = moving_clip(*map(int, training.split("x")))
        reference, slow = timed(lambda: training_step(rtn, lambda: published_flows(raft, frames), frames, True))
        ours, fast = timed(lambda: training_step(rtn, lambda: our_flows(raft, frames), frames, False))
        rows.append(row(f"training step, {training}", slow, fast, ours, reference))
    if lookup != "none":
        alone, shared = lookups(*map(int, lookup.split("x")))
        reference, slow = timed(alone)
        ours, fast = timed(shared)
        rows.append(row(f"one lookup on demand, {lookup}", slow, fast, ours, reference))
    if rows:
        print(table(rows, "CPU time of one thread"))
    if memory != "none":
        sizes = [tuple(map(int, size.split("x"))) for size in memory.split(",")]
        print(table([memory_row(*size) for size in sizes], "\npeak resident memory, five frames with RAFT"))


def timed(run):
    """(result, CPU seconds of this process)."""
    begin = time.process_time()
    result = run()
    return result, time.process_time() - begin


def row(name, slow, fast, ours, reference):
    different = None if reference is None else float((ours - reference).abs().max() / reference.abs().max())
    return {
        "what": name,
        "published s": round(slow, 1),
        "ours s": round(fast, 1),
        "faster": f"{slow / fast:.2f}x",
        "largest relative difference": different,
    }


def network():
    """The published generator, RAFT inside, with weights that any machine can make."""
    import json
    from pathlib import Path

    import torch

    from old_films_rtn import published
    from shared_utils.testing import fill

    case = json.loads((Path(__file__).parents[1] / "tests" / "golden" / "generator_full.json").read_text())
    state = {name: torch.from_numpy(fill(name, shape, case["gain"])) for name, shape in case["shapes"].items()}
    loaded, _ = published.import_generator(state, "filled weights")
    return loaded.rtn, loaded.raft


def moving_clip(frames, height, width):
    """(1, frames, 3, height, width): smooth noise that moves three pixels a frame, with grain."""
    import torch
    import torch.nn.functional as F

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, height + 16, width + 3 * frames + 16, generator=generator)
    base = F.avg_pool2d(F.avg_pool2d(noise, 9, 1), 8, 1)
    base = (base / base.std() / 3).clamp(-1, 1)
    moved = [base[..., i % 2 : i % 2 + height, 3 * i : 3 * i + width] for i in range(frames)]
    clip = torch.stack(moved, 1) + 0.02 * torch.randn(1, frames, 1, height, width, generator=generator)
    return clip.clamp(-1, 1).expand(-1, -1, 3, -1, -1).contiguous()


# Ours -----------------------------------------------------------------------------------------------------------------


def streamed(rtn, raft, clip):
    import torch

    from old_films_rtn.streaming import RestorationCell, restore_shot

    frames = list(clip.unbind(1))
    restored = restore_shot(RestorationCell(rtn), frames, raft, chunk=len(frames))
    return torch.stack([result.output for result in restored], 1)


def windowed(rtn, raft, clip):
    import torch

    from old_films_rtn.streaming import RestorationCell, restore_windows

    restored = restore_windows(RestorationCell(rtn), list(clip.unbind(1)), raft)
    return torch.stack([result.output for result in restored], 1)


def our_flows(raft, clip):
    from old_films_rtn.flow import clip_flows

    return clip_flows(raft, clip)


# The published order of work ------------------------------------------------------------------------------------------


def published_film(rtn, raft, clip, window=20, step=10):
    import torch

    from old_films_rtn.streaming import window_schedule

    kept = []
    for start, stop, first in window_schedule(clip.shape[1], window, step):
        kept.append(published_clip(rtn, raft, clip[:, start:stop])[:, first - start :])
    return torch.cat(kept, 1)


def published_clip(rtn, raft, clip):
    import torch

    with torch.no_grad():
        return published_propagation(rtn, clip, *published_flows(raft, clip))


def published_propagation(rtn, clip, forward_flow, backward_flow):
    import torch

    t = clip.shape[1]
    states = {}
    for direction, order in (("backward", range(t - 1, -1, -1)), ("forward", range(t))):
        hidden, previous = {}, None
        for i in order:
            if previous is None:
                fused, _ = rtn.first(direction, clip[:, i])
            else:
                flow = forward_flow[:, i - 1] if direction == "forward" else backward_flow[:, i]
                fused, _ = rtn.aggregate(direction, hidden[previous], clip[:, previous], clip[:, i], flow)
            hidden[i] = published_transformer(rtn.get_submodule(f"{direction}_transformer"), fused)
            previous = i
        states[direction] = hidden
    return torch.stack([rtn.decode(clip[:, i], states["backward"][i], states["forward"][i]) for i in range(t)], 1)


def published_flows(raft, clip, iterations=24):
    """Every pair by itself, once a direction."""
    import torch

    pairs = range(clip.shape[1] - 1)
    with torch.no_grad():
        forward = [published_flow(raft, clip[:, i + 1], clip[:, i], iterations) for i in pairs]
        backward = [published_flow(raft, clip[:, i], clip[:, i + 1], iterations) for i in pairs]
    return torch.stack(forward, 1), torch.stack(backward, 1)


def published_flow(raft, a, b, iterations):
    import torch

    from old_films_rtn.models.raft import CorrelationVolume, upsample

    block = raft.update_block
    features_a, features_b = raft.fnet(torch.cat((a, b))).chunk(2)
    state, context = raft.cnet(a).chunk(2, dim=1)
    state, context = torch.tanh(state), torch.relu(context)
    correlation = CorrelationVolume(features_a, features_b)
    n, _, height, width = state.shape
    axes = torch.arange(width).float(), torch.arange(height).float()
    start = torch.stack(torch.meshgrid(*axes, indexing="xy")).expand(n, -1, -1, -1)
    places = start
    for _ in range(iterations):
        x = torch.cat((context, block.encoder(places - start, correlation(places))), dim=1)
        for axis in (1, 2):
            z_layer, r_layer, q_layer = (getattr(block.gru, f"conv{gate}{axis}") for gate in "zrq")
            both = torch.cat((state, x), dim=1)
            z, r = torch.sigmoid(z_layer(both)), torch.sigmoid(r_layer(both))
            state = (1 - z) * state + z * torch.tanh(q_layer(torch.cat((r * state, x), dim=1)))
        places = places + block.flow_head(state)
        flow = upsample(places - start, 0.25 * block.mask(state))
    return flow


def published_transformer(transformer, features):
    import torch.nn.functional as F

    features = features.contiguous()
    full = F.leaky_relu(transformer.conv_first(features), 0.2)
    half = transformer.conv_second(full)
    tokens = transformer.embed_norm(half.permute(0, 2, 3, 1))
    for group in transformer.groups:
        result = tokens
        for block in group.blocks:
            result = published_block(block, result)
        tokens = tokens + group.conv(result.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)
    half = half + transformer.conv_after_body(transformer.norm(tokens).permute(0, 3, 1, 2).contiguous())
    half = F.leaky_relu(transformer.conv_before_upsample(half), 0.01)
    restored = transformer.conv_up(F.interpolate(half, scale_factor=2, mode="nearest")) + full
    return transformer.conv_last(F.leaky_relu(restored, 0.2))


def published_block(block, tokens):
    import torch
    import torch.nn.functional as F

    from old_films_rtn.models.swin import from_windows, shift_mask, windows_of

    n, height, width, channels = tokens.shape
    window, shift, attention = block.window, block.shift, block.attn
    shifted = block.norm1(tokens)
    if shift:
        shifted = torch.roll(shifted, (-shift, -shift), (1, 2))
    tiles = windows_of(shifted, window)
    heads, places = attention.num_heads, window * window
    qkv = attention.qkv(tiles).reshape(-1, places, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
    query, key, value = qkv[0] * (channels // heads) ** -0.5, qkv[1], qkv[2]
    logits = query @ key.transpose(-2, -1)
    bias = attention.relative_position_bias_table[attention.relative_position_index.view(-1)]
    logits = logits + bias.view(places, places, heads).permute(2, 0, 1).contiguous()[None]
    if shift:
        mask = shift_mask(height, width, window, shift, tokens.device, tokens.dtype)  # built anew
        logits = (logits.view(n, -1, heads, places, places) + mask[None, :, None]).view(-1, heads, places, places)
    attended = (logits.softmax(-1) @ value).transpose(1, 2).reshape(-1, places, channels)
    attended = from_windows(attention.proj(attended), window, height, width)
    if shift:
        attended = torch.roll(attended, (shift, shift), (1, 2))
    tokens = tokens + attended
    return tokens + block.mlp["fc2"](F.gelu(block.mlp["fc1"](block.norm2(tokens))))


def training_step(rtn, flows, clip, published):
    """Flow, restoration, L1 against the clip itself and gradients; returns the gradient of the first layer."""
    rtn.zero_grad()
    forward_flow, backward_flow = flows()
    run = published_propagation if published else lambda *arguments: arguments[0](*arguments[1:])[0]
    (run(rtn, clip, forward_flow, backward_flow) - clip).abs().mean().backward()
    return rtn.forward_aggregation.embedding.weight.grad.clone()


def lookups(height, width):
    """One lookup of every pixel by itself, and in shared windows, where flow is smooth."""
    import torch

    from old_films_rtn.models.raft import CorrelationOnDemand

    class Alone(CorrelationOnDemand):
        WIDEST = 0

    torch.manual_seed(0)
    rows, columns = height // 8, width // 8
    a, b = torch.randn(2, 1, 256, rows, columns)
    y, x = torch.meshgrid(torch.arange(1.0 * rows), torch.arange(1.0 * columns), indexing="ij")
    places = torch.stack((x + 2 * torch.sin(y / 9), y + torch.cos(x / 20)))[None]
    return lambda: Alone(a, b)(places), lambda: CorrelationOnDemand(a, b)(places)


# Memory ---------------------------------------------------------------------------------------------------------------


def memory_row(height, width):
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        base, peak, tile = pool.submit(peak_memory, height, width).result()
    pair = 4 / 3 * 4 * (height * width / 64) ** 2 / 1e9
    return {
        "size": f"{width}x{height}",
        "ours GB": round(peak, 2),
        "of which libraries and weights": round(base, 2),
        "tile": tile or "whole frame",
        "published, correlation of one pair GB (formula)": round(pair, 2),
        "of a window of 20 frames": round(19 * pair, 1),
    }


def peak_memory(height, width):
    """Resident GB before and at the peak of restoring five frames with RAFT (two updates: more do not need more)."""
    from pathlib import Path

    import torch

    from old_films_rtn.inference.memory import chunk_for, tile_for
    from old_films_rtn.streaming import RestorationCell, restore_shot
    from old_films_rtn.tiles import halo, padded

    def resident(field):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e6

    class TwoUpdates:
        def __init__(self, raft):
            self.features, self.raft = raft.features, raft

        def flow(self, a, b):
            return self.raft.flow(a, b, iterations=2)

    torch.set_num_threads(1)
    rtn, raft = network()
    raft.volume_limit = int(4.0 * 1e9 / 4)
    clip = moving_clip(5, height, width)[:, :, :1].clone()
    frames = [torch.from_numpy(padded(frame.numpy())).expand(-1, 3, -1, -1) for frame in clip.unbind(1)]
    base, tile = resident("VmRSS"), tile_for((height, width), 4.0, halo(rtn.forward_transformer))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
    cell = RestorationCell(rtn, tile=tile)
    for _ in restore_shot(cell, frames, TwoUpdates(raft), chunk=chunk_for((height, width), 4.0)):
        pass
    return base, resident("VmHWM"), tile


if __name__ == "__main__":
    sys.exit(cli.run(speed))
