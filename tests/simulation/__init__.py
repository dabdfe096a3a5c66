"""The simulator: seeds, faults, workload and checkers over `zmqueue.testing`."""
