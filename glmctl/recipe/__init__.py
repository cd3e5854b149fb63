"""Recipes: data only. Imports the standard library, pydantic and `glmctl.errors`, never torch."""
