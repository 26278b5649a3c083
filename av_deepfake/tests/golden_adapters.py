"""Adapters of the golden cases: our own way to the numbers of a case, chosen by what the case contains."""

import numpy as np
import torch
from torch.nn.functional import normalize

from av_deepfake import losses, mel, metrics, synchrony
from av_deepfake.preprocessing import mouth_crop
from av_deepfake.published import import_published


def _tensors(case):
    return {name: torch.from_numpy(np.asarray(value)) for name, value in case.inputs().items()}


def lips(case):
    """Front-end, trunk, temporal network and logit through the importer."""
    published = import_published({"model": case.state_dict()})
    network, options = published.content, case.config["tcn_options"]
    assert published.layout == "lips" and not published.left_out
    assert len(network.tcn.mb_ms_tcn.network) == options["num_layers"]
    pictures = _tensors(case)["clip"]
    valid = torch.arange(pictures.shape[2]) < torch.tensor(case.config["lengths"])[:, None]
    volume = network.frontend3D(pictures)
    features = network.pool(volume)
    encoded = network.encode(features)
    logit = network.classify(encoded, valid)
    return {"frontend3D": volume, "trunk": features, "tcn": encoded, "logit": logit}


def audio(case):
    """An audio encoder through the importer; published features are channels first."""
    (given,) = _tensors(case).values()
    return {"feature": import_published(case.state_dict()).content(given).transpose(1, 2)}


def encoder(case):
    """The published transformer through the importer."""
    network = import_published(case.state_dict(), case.config["heads"]).content
    assert len(network.transformer.layers) == case.config["depth"]
    return {"out": network(_tensors(case)["tokens"])}


def log_mel(case):
    """Filter bank, power and decibels."""
    power = mel.mel_power(_tensors(case)["wave"])
    return {"filterbank": mel.filter_bank(), "mel_power": power, "log_mel": mel.decibels(power)}


def infonce(case):
    """The loss in float64, with the gradients of what is normalised first."""
    given = {name: value.double().requires_grad_() for name, value in _tensors(case).items()}
    video, audio = (normalize(given[name], dim=-1) for name in ("video", "audio"))
    loss = losses.symmetric_infonce(video, audio, case.config["temperature"])
    loss.backward()
    found = losses.retrieval(video, audio)
    return {
        "logits": video @ audio.T * case.config["logit_scale"],
        "loss": loss,
        "grad_video": given["video"].grad,
        "grad_audio": given["audio"].grad,
        "accuracy_v2a": torch.tensor(found["top1_va"], dtype=torch.float64),
        "accuracy_a2v": torch.tensor(found["top1_av"], dtype=torch.float64),
    }


def syncnet(case):
    """Embeddings through the importer, distances with the published edges, MFCC."""
    network = import_published(case.state_dict()).content
    given, reach = _tensors(case), case.config["vshift"]
    shown = synchrony.synchrony(given["video_feat"], given["audio_feat"], reach, edges="zero")
    each = synchrony.distances(given["video_feat"], given["audio_feat"], reach, edges="zero")
    return {
        "lip_embedding": network.lip(given["lip"] / 255 - 0.5),
        "audio_embedding": network.audio(given["mfcc"] / 20),
        "distance": each,
        "mean_distance": shown.distances,
        # The published sign: sound that is late is negative.
        "offset": np.int64(-shown.offset),
        "confidence": np.float32(shown.confidence),
        "mfcc_from_wave": mel.mfcc(given["wave_int16"].numpy()),
    }


def mouth_crops(case):
    """Both published variants of the crop."""
    given = case.inputs()
    points, face = given["landmarks_xy"], given["mean_face"]
    frames = [np.roll(given["base_rgb"], 2 * frame, axis=1) for frame in range(len(points))]
    seen = [None if frame in (3, 4) else one for frame, one in enumerate(points)]
    filled = mouth_crop.interpolated(seen)
    return {
        "crops_2020": np.stack(list(mouth_crop.crop_2020(frames, points, face))),
        "landmarks_interpolated": filled,
        "crops_2021": np.stack(list(mouth_crop.crop_2021(frames, filled, face))),
    }


def video_level(case):
    """Clip counts, video logits and areas; videos without a clip are reported, not lost."""
    given, config = case.inputs(), case.config
    counts = metrics.clip_counts(given["frames_per_video"], config["frames_per_clip"], config["max_frames_per_video"])
    keys = [("any", int(video)) for video in given["clip_video"]]
    labels = given["label"][given["clip_video"]]
    videos = metrics.video_level(given["clip_logit"], keys, labels)
    logits = np.full(len(counts), np.nan, np.float32)
    logits[[int(key[1]) for key in videos.keys]] = videos.logits
    return {
        "clips_per_video": counts,
        "video_logit": logits,
        "video_auc": metrics.auc(videos.logits, videos.labels),
        "clip_auc": metrics.auc(given["clip_logit"], labels),
    }


#: What only such a case has: an entry of its weights, an input or a setting.
SIGNS = (
    ("config", "tcn_options", lips),
    ("shapes", "model.conv1.weight", audio),
    ("shapes", "conv1.weight", audio),
    ("shapes", "projection_layer.weight", encoder),
    ("shapes", "netcnnaud.0.weight", syncnet),
    ("config", "n_mels", log_mel),
    ("config", "logit_scale", infonce),
    ("config", "window_margin", mouth_crops),
    ("config", "frames_per_clip", video_level),
)


def adapter_of(case):
    """The adapter of a case; a case that none is for fails."""
    for part, sign, adapter in SIGNS:
        if sign in (case.spec.get(part) or {}):
            return adapter
    raise AssertionError(f"no adapter for case {case.name} ({case.module})")
