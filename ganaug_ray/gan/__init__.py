"""The GAN: its networks, training, quality metrics and sampling."""
