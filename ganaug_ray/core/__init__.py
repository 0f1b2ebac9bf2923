"""What all other rooms use, without Ray and without images: storage, checkpoints, randomness, registry, console."""
