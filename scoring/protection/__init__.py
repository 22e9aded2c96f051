"""What keeps the service up when its callers or its stores are not well: limits, breakers, and watches of disk and clock."""
