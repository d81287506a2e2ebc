"""Start one worker: `python …/worker/__main__.py FOLDER`, where the folder holds a request (see `core.job`); or, with
`--warm SOCKET KERAS`, a process that forks workers (see `worker.warm`).

Started by path and not with `-m`, so that neither the working directory nor anything in it can stand in
for a module. Leaves a result, the captured output and how the process ended in the folder.
"""

import os
import sys

# Python put this file's folder first; nothing here may shadow a module. The package's own parent goes
# last, for a checkout that is not installed.
sys.path[0:1] = []
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

if __name__ == "__main__":
    if sys.argv[1] == "--warm":
        import socket

        from tb_ckptmeta.worker.warm import serve

        serve(socket.socket(fileno=int(sys.argv[2])), sys.argv[3])
    from tb_ckptmeta.worker.forked import Request, fork_worker
    from tb_ckptmeta.worker.guardian import guard

    # What the caller keeps open for as long as it lives is our standard input.
    lifeline = os.dup(0)
    guard(fork_worker([lifeline]), Request(sys.argv[1]), lifeline)
