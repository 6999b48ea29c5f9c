"""What a finished run is used for: embedding, comparing, finding, grouping."""
