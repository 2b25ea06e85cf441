"""Optimizers and schedules of learning rates, with the names, defaults and semantics of torch.optim.

optimizer.py has what all share: groups of parameters, state, and `step`, which hands all parameters to one call of
`ops`. algorithms.py has an optimizer to a class, lr_scheduler.py the schedules. May import `ops`, `autograd`, `checks`.
"""

from . import lr_scheduler
from .algorithms import SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, RAdam, RMSprop
from .optimizer import Optimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "lr_scheduler",
]
