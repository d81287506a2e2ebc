"""Builders that do what no builder should do; each claims the run of its own name. The last two get away with it."""

import ctypes
import os
import subprocess
import sys
import threading

from small_models import make_mlp

from tb_ckptmeta import builder


@builder("raises", checkpoints="raises/*")
def raises():
    return find_layer("hiden")


def find_layer(name):
    raise ValueError(f"no layer {name!r}\nthere are: hidden, digit")


@builder("exits", checkpoints="exits/*")
def exits():
    sys.exit("enough")


@builder("exits-hard", checkpoints="exits-hard/*")
def exits_hard():
    print("last words")
    os._exit(7)


@builder("crashes", checkpoints="crashes/*")
def crashes():
    ctypes.string_at(0)


@builder("closes-files", checkpoints="closes-files/*")
def closes_files():
    os.closerange(3, 1000)
    return make_mlp()


@builder("eats-memory", checkpoints="eats-memory/*")
def eats_memory():
    eaten = []
    while True:
        eaten.append(b"x" * (64 << 20))


@builder("hangs", checkpoints="hangs/*")
def hangs():
    threading.Event().wait()


@builder("prints-megabytes", checkpoints="prints-megabytes/*")
def prints_megabytes():
    for _ in range(200_000):
        print("a line that nobody asked for, and then the same again")
    os.write(2, b"\xff\xfe not text\n")
    return make_mlp()


@builder("leaves-behind", checkpoints="leaves-behind/*")
def leaves_behind():
    """Start two processes, the second in a session of its own, and a thread, and end none of them."""
    children = [subprocess.Popen(["sleep", "3600"], start_new_session=apart) for apart in (False, True)]
    threading.Thread(target=threading.Event().wait).start()
    with open(os.environ["CKPTMETA_TEST_PIDS"], "w") as file:
        file.write(" ".join(str(pid) for pid in (os.getppid(), os.getpid(), *(c.pid for c in children))))
    return make_mlp()
