"""Serves the champion over HTTP: the ASGI application needs torch alone; the deployment puts it on Ray Serve."""
