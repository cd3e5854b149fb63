"""The only training loop. Imports everything below it in core.

A run needs no stored generator: data order and corruption are functions of (seed, epoch, row), and
dropout is seeded for each micro step from (seed, step, micro step). So a killed run repeats the
steps since its checkpoint bit for bit, a half-done accumulation included.
"""
