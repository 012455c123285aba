"""Corpora: files of trajectories, their splits, and the windows cut from them."""
