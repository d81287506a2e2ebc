"""Graphs and MetaGraphs for TensorFlow checkpoints, rebuilt from the code that made them.

This is what user code imports; it needs nothing but the standard library.
"""

from tb_ckptmeta.callback import record_callback
from tb_ckptmeta.core.builder import Model, builder
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import record

__version__ = "0.1.0"

__all__ = ["CkptMetaError", "Code", "Model", "__version__", "builder", "record", "record_callback"]
