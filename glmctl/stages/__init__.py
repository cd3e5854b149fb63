"""One module a stage, `run(...) -> frozen result`. Imports core and recipe; stages stay apart."""
