"""`python -m tb_ckptmeta`: the command line."""

import sys

from tb_ckptmeta.cli import main

if __name__ == "__main__":
    sys.exit(main())
