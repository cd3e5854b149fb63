"""Token shards, the order in which they are read, and batches.

Imports what stands below it in core.
"""
