"""The command `tb-ckptmeta`. Runs in a process of its own, which never imports TensorFlow."""

from tb_ckptmeta.cli.main import main

__all__ = ["main"]
