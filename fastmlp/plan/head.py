"""A last layer of many classes with its cross-entropy, some rows at a time.

Its logits never exist all at once in a step. They do once while the plan is made, when the calls are compared with
what the model gives, as they do in the layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastmlp.kernels.contract import KERNELS

from .. import ops
from ..checks import Array
from ..ops.losses import divisor, rows_at_a_time

HEAD = ["linear_forward", "find_bad_label", "cross_entropy", "linear_backward"]


@dataclass
class Share:
    """What each row's loss is multiplied by: 1, or 1 over the weights of the labels that count in a step."""

    share: Array
    weight: Array | None
    classes: int
    ignore_index: int
    reduction: str

    def prepare(self, labels: Array) -> float:
        """For these labels. -> what their losses are divided by; those that are no classes are refused later."""
        known = labels[(labels >= 0) & (labels < self.classes)]
        total = divisor(known, self.weight, self.ignore_index) if self.reduction == "mean" else 1.0
        self.share.fill(1 / total if total else 0.0)
        return total


def split_head(calls: list[ops.Call], head: int) -> tuple[Share, Array] | None:
    """The calls from that of the last layer, at `head`, to that of its gradients are exchanged, in place, for such
    calls of some rows at a time, as in `ops.linear_cross_entropy`; if that layer has so many classes, and its loss
    takes labels. -> the shares of the rows, and the losses, which are to be added up; None: nothing is changed.
    """
    if [name for name, _ in calls[head : head + 4]] != HEAD:
        return None
    forward, _, loss, backward = (dict(zip(KERNELS[name], arguments)) for name, arguments in calls[head : head + 4])
    logits, rows = loss["logits"], len(loss["logits"])
    chunk = rows_at_a_time(rows, logits.shape[1], logits.itemsize)
    known = loss["sample_weight"] is None and not loss["label_smoothing"] and loss["reduction"] != "none"
    linked = forward["y"] is logits and backward["dy"] is loss["dlogits"] and forward["act"].name == "identity"
    if chunk >= rows or not known or not linked:
        return None
    z, share = np.empty((chunk, logits.shape[1]), logits.dtype), np.empty(rows, logits.dtype)
    losses = np.zeros(-(-rows // chunk), logits.dtype)
    made = [calls[head + 1]]
    for i, begin in enumerate(range(0, rows, chunk)):
        some = slice(begin, min(begin + chunk, rows))
        zs, dx = z[: some.stop - begin], backward["dx"]
        x = forward["x"][some]
        of_loss = {"logits": zs, "dlogits": zs, "target": loss["target"][some], "sample_weight": share[some]}
        of_loss |= {"loss": losses[i : i + 1], "reduction": "sum"}
        of_x = {"dy": zs, "saved": zs, "x": None if backward["x"] is None else x, "accumulate": i > 0}
        of_x |= {"dx": None if dx is None else dx[some]}
        for name, given, changed in (
            ("linear_forward", forward, {"x": x, "y": zs}),
            ("cross_entropy", loss, of_loss),
            ("linear_backward", backward, of_x),
        ):
            made.append((name, tuple((given | changed).values())))
    calls[head : head + 4] = made
    return Share(share, loss["weight"], logits.shape[1], loss["ignore_index"], loss["reduction"]), losses
