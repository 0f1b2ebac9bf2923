"""The generative network: training, quality, sampling."""
