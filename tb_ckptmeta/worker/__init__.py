"""The child's side: the one place that imports TensorFlow and runs user code."""
