"""Filling blanks and scoring candidates. Imports data, model, objective and tokenizer."""
