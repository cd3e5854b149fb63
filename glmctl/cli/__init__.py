"""Words in, words out: one module a command. Imports stages; torch loads inside a command only."""
