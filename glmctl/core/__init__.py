"""The GLM itself. Knows no command line and no layout of a run folder; imports `glmctl.recipe`."""
