"""Benchmarks: one file a claim, each prints ours, the peer and the limit, measured in the same run."""
