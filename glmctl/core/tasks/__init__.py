"""Tasks as data: what a model is asked, how its answers are read and how they are scored.

A built-in task is a table of `builtin/*.toml`, written in the schema that a user's own task has.
Python knows kinds of tasks (a word for each label, candidates for an answer) and shapes of files,
never a task. May import everything in core but `train`.
"""
