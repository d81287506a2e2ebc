"""A builder whose every text would be markup, were it taken for HTML."""

from tb_ckptmeta import builder


@builder("<b>bold</b>", checkpoints="<u>hostile/*")
def build(units: str = "<i>italic</i>"):
    """<img src=x onerror=top.hacked=1>"""
    raise ValueError("<img src=x onerror=top.hacked=1>")
