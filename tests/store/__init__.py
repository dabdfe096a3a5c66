"""Tests of the stores: one contract for both, then what only the disk or only its twin can do."""
