"""Prints megabytes while it is imported, from Python and past it, and ends in half a character."""

import os

from tb_ckptmeta import builder

print("the first line")
for _ in range(40_000):
    print("a line that nobody asked for, and then the same again")
os.write(2, b"past Python \xff\n")
print("a lone surrogate \udcff")
print("the last line")
os.write(1, b"\xe2\x80")


@builder("prints")
def build():
    raise AssertionError("only listed")
