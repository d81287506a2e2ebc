"""Never gives the interpreter lock back, once it has started a process in a session of its own."""

import ctypes
import os
import subprocess

child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
with open(os.environ["CKPTMETA_TEST_PIDS"] + ".tmp", "w") as file:
    file.write(f"{os.getppid()} {os.getpid()} {child.pid}")
os.rename(file.name, os.environ["CKPTMETA_TEST_PIDS"])
print("about to hang", flush=True)
while True:
    ctypes.PyDLL(None).sleep(3600)  # a PyDLL function runs without releasing the lock
