"""A builder that is still at work whenever somebody looks."""

import time

from tb_ckptmeta import builder


@builder("waits")
def waits():
    while True:
        time.sleep(1.0)
