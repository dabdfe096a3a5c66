"""Tests of the client: its core against scripted nodes in virtual time, its transport against a fake node."""
