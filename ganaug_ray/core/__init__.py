"""What the rooms above use, without Ray and without images: storage, checkpoints, randomness, registry, console."""
