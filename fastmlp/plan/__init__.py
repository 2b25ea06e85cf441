"""The compiled network: a model, its loss and its optimizer as one native call.

trace.py finds the chain of layers, lower.py makes calls of kernels of it, network.py is what people hold.
May import `ops`, `autograd`, `nn`, `optim`; `contract` to read.
"""

from .network import Network, compile

__all__ = ["Network", "compile"]
