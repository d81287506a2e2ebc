"""Two builders of one name, beside one that has its own."""

from tb_ckptmeta import builder


@builder("twice")
def first():
    raise AssertionError("only listed")


@builder("twice")
def second():
    raise AssertionError("only listed")


@builder("once")
def once():
    raise AssertionError("only listed")
