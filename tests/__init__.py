"""The tests of zmqueue."""
