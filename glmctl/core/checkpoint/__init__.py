"""Tensors on disk: whole or absent, verified, never unpickled. Imports only what is below."""
