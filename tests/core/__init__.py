"""Tests of the core: no socket, no clock, no thread."""
