"""The TensorBoard plugin. Runs in TensorBoard's process, which never imports TensorFlow for it."""
