"""How good a generator's samples are: KID, FID, precision and recall, copies of training images, accuracy score."""
