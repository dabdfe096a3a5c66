"""Tests of the patterns and their programs."""

from __future__ import annotations
