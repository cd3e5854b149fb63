"""One file per released format: its tensor names and shapes <-> ours. Builds no model."""
