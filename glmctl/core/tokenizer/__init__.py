"""Text to ids and back; the special tokens of each GLM layout. Imports recipe and errors only."""
