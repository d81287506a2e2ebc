"""A decorator with a value that does not fit."""

from tb_ckptmeta import builder


@builder("mlp", keras="2")
def build():
    raise AssertionError("never registered")
