"""The caller's side: scan, pair, ask a worker, verify, export. Never imports TensorFlow, never runs user code."""
