"""Any classifier as a victim: other inputs, other outputs, numpy, or nothing but labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from shared_utils import UserError

Inputs = Literal["channels_first", "channels_last", "pos"] | Callable[[Tensor], Any]


class Adapted(nn.Module):
    """A model as the attacks want it: clouds (B, 3, N) -> scores (B, C).

    Args:
        model: a module or function.
        inputs: what it takes: ``channels_first`` (B, 3, N); ``channels_last`` (B, N, 3); ``pos``, a dict with the entry
            ``pos`` (B, N, 3); or a function that makes it of clouds (B, N, 3).
        output: where the scores are in what it returns: the place in a tuple, the key of a dict, the name of an attribute
            such as ``logits``, or a function of it; None: it is the scores.
        numpy: the model is a function of numpy arrays. It has no gradient: query attacks and the controls use it.
        num_classes: the model returns labels alone (B,); they become scores of one and zero. There is no gradient, and the
            score does not rise before the label changes.

    Raises:
        UserError: an unknown kind of input.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        inputs: Inputs = "channels_first",
        output: int | str | Callable[[Any], Tensor] | None = None,
        numpy: bool = False,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        if not callable(inputs) and inputs not in ("channels_first", "channels_last", "pos"):
            raise UserError(f"unknown inputs {inputs!r}: channels_first, channels_last, pos, or a function")
        self.model, self.inputs, self.output = model, inputs, output
        self.numpy, self.num_classes = numpy, num_classes

    def forward(self, clouds: Tensor) -> Tensor:
        result = self._select(self.model(self._given(clouds)))
        if isinstance(result, np.ndarray | np.generic | list):
            result = torch.as_tensor(np.asarray(result), device=clouds.device)
        if not isinstance(result, Tensor):
            raise UserError(
                f"the victim returned a {type(result).__name__} for its scores: say where they are by output="
            )
        return result if self.num_classes is None else _scores(result, len(clouds), self.num_classes)

    def _given(self, clouds: Tensor) -> Any:
        if callable(self.inputs):
            given = self.inputs(clouds.transpose(1, 2))
        else:
            given = clouds if self.inputs == "channels_first" else clouds.transpose(1, 2).contiguous()
        if self.numpy and isinstance(given, Tensor):
            given = given.detach().cpu().numpy()
        return {"pos": given} if self.inputs == "pos" else given

    def _select(self, result: Any) -> Any:
        try:
            if self.output is None:
                return result
            if callable(self.output):
                return self.output(result)
            if isinstance(self.output, int) or isinstance(result, Mapping):
                return result[self.output]
            return getattr(result, self.output)
        except (IndexError, KeyError, TypeError, AttributeError):
            has = f"the keys {', '.join(map(str, result))}" if isinstance(result, Mapping) else type(result).__name__
            raise UserError(f"the victim's result has no output {self.output!r}: it is or has {has}") from None


def _scores(labels: Tensor, count: int, num_classes: int) -> Tensor:
    """Labels (count,) as scores of one and zero."""
    if labels.shape != (count,) or labels.is_floating_point() or labels.is_complex():
        raise UserError(
            f"a victim of labels returns ({count},) whole numbers, got {tuple(labels.shape)} {labels.dtype}"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(f"the victim returned label {int(labels.max())} and num_classes is {num_classes}")
    return torch.nn.functional.one_hot(labels.long(), num_classes).float()
