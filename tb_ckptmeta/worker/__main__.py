"""Start one worker: `python …/worker/__main__.py FOLDER`, where the folder holds a request (see `core.job`).

Started by path and not with `-m`, so that neither the working directory nor anything in it can stand in
for a module. Leaves a result, the captured output and how the process ended in the folder.
"""

import os
import sys

# Python put this file's folder first; nothing here may shadow a module. The package's own parent goes
# last, for a checkout that is not installed.
sys.path[0:1] = []
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tb_ckptmeta.worker.guardian import guard  # noqa: E402

if __name__ == "__main__":
    guard(sys.argv[1])
