"""Three small models, their training and their builders. Copied beside the demo's checkpoints, and run from there."""
