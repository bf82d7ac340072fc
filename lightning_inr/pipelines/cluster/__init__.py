"""Distribution of a collection's videos: shards, claims, the order of work, and Ray."""
