"""What everything stands on, without Ray and without images: storage, checkpoints, randomness, registry, console."""
