"""Start TensorBoard so that it reads remote logdirs by fsspec: python -m tb_ckptmeta.plugin --logdir s3://…"""

from __future__ import annotations

from tb_ckptmeta.plugin.remote_logdir import do_without_tensorflow

if __name__ == "__main__":
    do_without_tensorflow()

    from tensorboard.main import run_main

    run_main()
