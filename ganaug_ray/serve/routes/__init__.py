"""The routes of the service: its own API, the Open Inference Protocol, the rollout, the pages."""
