"""Processes that train one model together; knows torch.distributed, and nothing of the GLM."""
