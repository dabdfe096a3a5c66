"""The ways in which a caller gets a result: patterns built on nothing but the public names of `zmqueue`."""
