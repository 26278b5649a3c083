"""``ColourModule``: how the colour network is trained. Wiring only."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from old_films_rtn.flow import clip_flows
from old_films_rtn.models.colour import AB_SCALE, ColourNetwork
from old_films_rtn.pretrained import flow_source, load_colour


class ColourModule(LightningModule):
    """``ColourNetwork`` with an L1 loss on a and b of the frames that are not given, of the answer and, at a fifth, of the
    colour that is found by likeness. Adam and a cosine schedule.

    flow: ``dis``, ``raft:FILE`` or ``none``, estimated on the lightness. start: a trained network to begin from.

    Logged, of the frames that are not given: ``psnr`` of a and b (range 2 * 110), ``psnr_carried`` of the colour that is
    only carried along the flow, ``psnr_found`` of that which is only found, and ``psnr_grey`` of no colour at all.
    """

    def __init__(
        self,
        flow: str = "dis",
        learning_rate: float = 1e-3,
        gradient_clip: float = 1.0,
        start: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = ColourNetwork()
        if start is not None:
            self.model.load_state_dict(load_colour(start).state_dict())
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

    def _answer(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The network's a and b and what they come from, the true ones, and which frames were not given (n, t, 1, 1, 1)."""
        clip = batch["clip"]
        lightness = clip[:, :, :1].expand(-1, -1, 3, -1, -1)
        answer, carried, found = self.model(clip, *clip_flows(self._flow[0], lightness))
        answers = {"psnr": answer, "psnr_carried": carried, "psnr_found": found, "psnr_grey": torch.zeros_like(answer)}
        return answers, batch["ab"] / AB_SCALE, 1 - clip[:, :, 3:, :1, :1]

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        answers, truth, asked = self._answer(batch)
        wrong = (answers["psnr"] - truth).abs() + 0.2 * (answers["psnr_found"] - truth).abs()
        loss = (wrong * asked).mean() / asked.mean().clamp_min(1e-6)
        self.log("train_loss", loss.detach(), batch_size=len(truth))
        return loss

    def _evaluate(self, batch: dict[str, Tensor], stage: str) -> None:
        answers, truth, asked = self._answer(batch)
        for name, colour in answers.items():
            squared = ((colour - truth).square() * asked).mean() / asked.mean()
            value = 10 * torch.log10(4 / squared.clamp_min(1e-10))
            self.log(f"{stage}_{name}", value, on_epoch=True, batch_size=len(truth), sync_dist=True)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self._evaluate(batch, "test")
