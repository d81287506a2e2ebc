"""Two builders that claim one checkpoint."""

from tb_ckptmeta import builder


@builder("mlp", checkpoints="mlp/*")
def build_mlp(units: int, depth: int = 2):
    raise AssertionError("only listed")


@builder("every", checkpoints="**")
def build_every():
    raise AssertionError("only listed")
