"""Builders with parameters that are no JSON scalars."""

from tb_ckptmeta import builder


@builder("limitless")
def limitless(clip: float = float("inf"), fill: float = float("nan"), sizes: tuple = (1, 2)):
    raise AssertionError("only listed")


@builder("positional")
def positional(units, /):
    raise AssertionError("only listed")
