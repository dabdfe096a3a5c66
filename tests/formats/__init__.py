"""What lies on the wire and on disks is read by the versions to come, and by those that were."""
