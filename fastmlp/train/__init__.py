"""Training: Trainer, and what belongs around the loop.

    trainer.py      Trainer: fit, evaluate, predict
    history.py      History: the numbers of each epoch
    callbacks.py    what can be hung into `fit`; EarlyStopping
    monitor.py      dead units, gradients that vanish or explode
    diagnose.py     where numbers stop being finite
    progress.py     how far training is, in words
    inference.py    a model's answers
"""

from .callbacks import Callback, EarlyStopping
from .history import History
from .inference import predict
from .monitor import Monitor
from .trainer import Trainer

__all__ = ["Callback", "EarlyStopping", "History", "Monitor", "Trainer", "predict"]
