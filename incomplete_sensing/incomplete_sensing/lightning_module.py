"""``ReconstructionModule``: how a reconstruction is trained. Wiring only."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn
from torchmetrics.image import PeakSignalNoiseRatio

from incomplete_sensing.ceiling import SeenSpace
from incomplete_sensing.data.measurements import Batch
from incomplete_sensing.fitting import fit
from incomplete_sensing.learning_rate import learning_rate as scheduled_rate
from incomplete_sensing.metrics import compared, consistency_residual, psnr, ssim
from incomplete_sensing.models import MixtureMean
from incomplete_sensing.noise import Noise
from incomplete_sensing.objective import FITTED, Method, Objective
from incomplete_sensing.operator_checks import before_training, seen_space
from incomplete_sensing.operators import OperatorFamily
from incomplete_sensing.reconstructor import Reconstructor, Start, starting_image
from shared_utils import UserError

log = logging.getLogger(__name__)


class ReconstructionModule(LightningModule):
    """A reconstruction network, its training method and its schedule.

    operators, noise_sigma, noise_gain, model_dimension: of the data. method and the arguments from cross_weight to
    alpha: see ``Objective``. network, start, rescale, splits: see ``Reconstructor``. learning_rate, weight_decay:
    of Adam; a tenth of the rate from each of ``milestones`` (epochs) on, or the ``cosine`` schedule. strength, rank,
    iterations, fit_seed, pooled, stationary: see ``fitting.fit``; a method that is fitted takes a network mixture, and one epoch.

    Logged: ``train_`` and each term of the loss; ``selection_loss``, by which the best checkpoint is chosen: the
    training loss on held-out measurements, or of the epoch where none are held out; so in self-supervised training it
    is chosen without truth. At test: ``test_psnr``, ``test_psnr_start`` of A^+ y, ``test_ssim``, ``test_residual``, and
    without truth in training ``test_ceiling``, the PSNR of what some operator sees, where there are directions that none does.
    """

    def __init__(
        self,
        operators: OperatorFamily,
        method: Method = "moi",
        network: dict[str, Any] = {"name": "mlp"},  # noqa: B006 (never changed)
        start: Start = "pinv",
        rescale: bool = False,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        milestones: Sequence[int] = (),
        cosine: bool = False,
        cross_weight: float = 1.0,
        equivariance_weight: float = 1.0,
        cross_draw: Literal["sample", "batch"] = "sample",
        exclude_self: bool = True,
        transform: str = "shift",
        num_transforms: int = 1,
        detach: bool = False,
        normalise: Literal["all", "observed"] = "all",
        noise_sigma: float = 0.0,
        noise_gain: float = 0.0,
        virtual_noise: bool = False,
        tau: float = 0.01,
        consistency_weight: float = 1.0,
        split_share: float = 0.6,
        split_range: tuple[float, float] = (0.5, 0.95),
        split_draw: Literal["sample", "operator"] = "sample",
        split_kind: Literal["plain", "weighted", "robust"] = "plain",
        risk: Literal["sure", "unsure", "r2r"] = "sure",
        noise_start: float = 0.1,
        noise_step: float = 1e-4,
        alpha: float = 0.5,
        splits: int = 5,
        model_dimension: float | None = None,
        strength: float = 30.0,
        rank: int | None = None,
        iterations: int = 40,
        fit_seed: int = 0,
        pooled: int = 1,
        stationary: bool = False,
    ) -> None:
        super().__init__()
        self.options = {key: value for key, value in locals().items() if key not in ("self", "__class__", "operators")}
        if splits < 1:
            raise UserError(f"splits must be at least 1, got {splits}")
        self.objective = Objective(
            method,
            cross_weight,
            equivariance_weight,
            cross_draw,
            exclude_self,
            transform,
            num_transforms,
            detach,
            normalise,
            Noise(noise_sigma, noise_gain),
            virtual_noise,
            tau,
            consistency_weight,
            split_share,
            split_range,
            split_draw,
            split_kind,
            risk,
            noise_start,
            noise_step,
            alpha,
        )
        if method in FITTED and network.get("name") != "mixture":
            network = {"name": "mixture", "components": 20 if method == "mixture" else 1}
        self.fitting = {
            "strength": strength,
            "rank": rank,
            "iterations": iterations,
            "seed": fit_seed,
            "pooled": pooled,
            "stationary": stationary,
        }
        # A fitted method has no gradient to follow.
        self.automatic_optimization = method not in FITTED
        self.reconstructor = Reconstructor.of(
            operators,
            network,
            start=start,
            rescale=rescale,
            split_share=split_share if method in ("split", "eqsplit") else None,
            splits=splits,
        )
        per_image = {"data_range": 1.0, "dim": (1, 2, 3)}
        self.metrics = nn.ModuleDict(
            {name: PeakSignalNoiseRatio(**per_image) for name in ("test_psnr", "test_psnr_start")}
        )
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.milestones, self.cosine = tuple(milestones), cosine
        self.model_dimension = model_dimension
        self.announce = True
        self.fitted = False
        self.seen: SeenSpace | None = None

    @property
    def operators(self) -> OperatorFamily:
        operators = self.reconstructor.operators
        assert operators is not None, "Reconstructor.of has set them"
        return operators

    def forward(self, measurements: Tensor, g: Tensor) -> Tensor:
        """(B, *measurement_shape), (B,) -> (B, C, H, W)."""
        return self.reconstructor(measurements, g)

    def on_fit_start(self) -> None:
        if self.announce:
            self.print_verdict()
        network = self.reconstructor.network
        if isinstance(network, MixtureMean) and not self.fitted:
            self._fit(network)

    @torch.no_grad()
    def _fit(self, network: MixtureMean) -> None:
        """Fit the mixture of a network to all training measurements, from which training then starts."""
        self.trainer.fit_loop.setup_data()
        loader = self.trainer.train_dataloader
        batches = [
            self.trainer.strategy.batch_to_device(batch) for batch in cast(Iterable[Batch], loader) if len(batch.g)
        ]
        measurements, g = (torch.cat([batch[place] for batch in batches]) for place in (0, 1))
        truth = [batch.truth for batch in batches if batch.truth is not None]
        known = torch.cat(truth) if self.objective.method == "linear" and truth else None
        fit(network, self.objective.method, self.operators, measurements, g, known, **self.fitting)
        self.fitted = True

    @rank_zero_only
    def print_verdict(self) -> None:
        """The conditions' verdict on standard output, warnings in the log."""
        lines, remarks = before_training(
            self.operators, self.objective.method, self.model_dimension, self.objective.transform
        )
        print("\n".join(lines), flush=True)
        for warning in remarks:
            log.warning(warning)

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        if self.objective.method in FITTED:
            network = cast(MixtureMean, self.reconstructor.network)
            return {"loss": -network.log_density(batch.measurements, self.operators, batch.g).mean()}
        return self.objective(self.reconstructor, self.operators, batch.measurements, batch.g, batch.truth)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        if not len(batch.g):
            return None  # every image of the batch was corrupt; each has been named
        terms = self._terms(batch)
        logged = {f"train_{name}": value.detach() for name, value in terms.items()}
        if not self.trainer.val_dataloaders:
            logged["selection_loss"] = logged["train_loss"]
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=len(batch.g), sync_dist=True)
        if self.automatic_optimization:
            return terms["loss"]
        cast(torch.optim.Optimizer, self.optimizers()).step()
        return None

    def on_train_epoch_end(self) -> None:
        if not self.automatic_optimization:
            self.trainer.should_stop = True

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        value = self._terms(batch)["loss"]
        self.log("selection_loss", value, on_epoch=True, batch_size=len(batch.g), prog_bar=True, sync_dist=True)

    def on_test_start(self) -> None:
        seen = seen_space(self.operators, self.objective.method, self.objective.transform)
        self.seen = seen if seen is not None and seen.missing else None

    def test_step(self, batch: Batch, batch_index: int) -> None:
        images = self.reconstructor.predict(batch.measurements, batch.g)
        logged = {"test_residual": consistency_residual(images, batch.measurements, self.operators, batch.g).mean()}
        if batch.truth is not None:
            flag = self.reconstructor.complex_valued
            start = starting_image(batch.measurements, self.operators, batch.g, self.reconstructor.start)
            for name, values in (("test_psnr", images), ("test_psnr_start", start)):
                metric = cast(PeakSignalNoiseRatio, self.metrics[name])  # a ModuleDict forgets the kind
                metric.update(*compared(values, batch.truth, flag))
                self.log(name, metric, on_epoch=True, batch_size=len(batch.g))
            if self.seen is not None:
                logged["test_ceiling"] = psnr(self.seen(batch.truth), batch.truth, complex_valued=flag).mean()
            # Of small images too, which torchmetrics' window does not fit.
            logged["test_ssim"] = ssim(images, batch.truth, complex_valued=flag).mean()
        self.log_dict(logged, on_epoch=True, batch_size=len(batch.g), sync_dist=True)

    def configure_optimizers(self) -> Any:
        if not self.automatic_optimization:
            # Progress is counted in steps of an optimiser, so there is one, which has nothing to change.
            return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0)
        parameters = self.reconstructor.parameters()
        optimizer = torch.optim.Adam(parameters, self.learning_rate, weight_decay=self.weight_decay, fused=True)
        epochs = self.trainer.max_epochs
        assert epochs is not None, "Lightning sets it where the settings do not"

        def factor(epoch: int) -> float:
            return scheduled_rate(epoch, 1.0, epochs, self.milestones, self.cosine)

        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, factor)]

    # A checkpoint is a reconstruction that can be used by itself: network, operators and what they were trained on.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = getattr(getattr(self.trainer, "datamodule", None), "options", None)
        checkpoint["reconstructor"] = {**self.reconstructor.config(), "data": data}
        checkpoint["operators_sha256"] = self.operators.fingerprint()
        checkpoint["method"] = self.objective.method
        checkpoint["fitted"] = self.fitted
        checkpoint["noise_variance"] = self.objective.noise_level.variance

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.fitted = checkpoint.get("fitted", False)
        level = self.objective.noise_level
        level.variance = checkpoint.get("noise_variance", level.variance)
        stored = checkpoint.get("operators_sha256")
        if stored is not None and stored != self.operators.fingerprint():
            raise UserError(
                "the checkpoint was trained with other operators than the data has now: use the run's own config"
            )
