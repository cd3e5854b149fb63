"""From a text to Part A and Part B, and the loss. Imports tokenizer, recipe and errors."""
