"""Tests of the asyncio client and worker, beside the contract suite that all clients share."""
