"""What run folders tell: tables, and a page with plots. Of core it may import the log of a run."""
