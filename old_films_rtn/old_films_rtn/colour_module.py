"""``ColourModule``: how the colour network is trained. Wiring only."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from old_films_rtn.flow import clip_flows
from old_films_rtn.models.colour import AB_SCALE, ColourRTN
from old_films_rtn.pretrained import flow_source


class ColourModule(LightningModule):
    """``ColourRTN`` with an L1 loss on a and b of the frames that are not given, Adam and a cosine schedule.

    flow: ``dis``, ``raft:FILE`` or ``none``, estimated on the lightness. The other arguments are those of ``ColourRTN``.

    Logged, of the frames that are not given: ``psnr`` of a and b (range 2 * 110), ``psnr_carried`` of the colour that is
    only carried along the flow, which is the network before training, and ``psnr_grey`` of no colour at all.
    """

    def __init__(
        self,
        channels: int = 16,
        width: int = 32,
        depths: tuple[int, ...] = (2,),
        num_heads: int = 2,
        flow: str = "dis",
        learning_rate: float = 1e-3,
        gradient_clip: float = 1.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = ColourRTN(channels, width, tuple(depths), num_heads)
        self._flow = [flow_source(flow)]  # in a list: no part of the checkpoint

    def on_fit_start(self) -> None:
        if isinstance(self._flow[0], torch.nn.Module):
            self._flow[0].to(self.device)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.model.parameters(), self.hparams["learning_rate"])
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        self.clip_gradients(optimizer, self.hparams["gradient_clip"], "norm")

    def _answer(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The network's a and b, what was only carried, the true ones, and which frames were not given (n, t, 1, 1, 1)."""
        clip = batch["clip"]
        lightness = clip[:, :, :1].expand(-1, -1, 3, -1, -1)
        answer, carried = self.model(clip, *clip_flows(self._flow[0], lightness))
        return answer, carried, batch["ab"] / AB_SCALE, 1 - clip[:, :, 3:, :1, :1]

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        answer, _, truth, asked = self._answer(batch)
        loss = ((answer - truth).abs() * asked).mean() / asked.mean().clamp_min(1e-6)
        self.log("train_loss", loss.detach(), batch_size=len(truth))
        return loss

    def _evaluate(self, batch: dict[str, Tensor], stage: str) -> None:
        answer, carried, truth, asked = self._answer(batch)
        scores = {"psnr": answer, "psnr_carried": carried, "psnr_grey": torch.zeros_like(answer)}
        for name, colour in scores.items():
            squared = ((colour - truth).square() * asked).mean() / asked.mean()
            value = 10 * torch.log10(4 / squared.clamp_min(1e-10))
            self.log(f"{stage}_{name}", value, on_epoch=True, batch_size=len(truth), sync_dist=True)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self._evaluate(batch, "test")
