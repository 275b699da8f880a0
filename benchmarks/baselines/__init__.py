"""What pruner is measured against: small programs of our own that do the same requests with less."""
