"""The one GLM, configured by `ModelConfig`. Imports checkpoint, recipe and errors."""
