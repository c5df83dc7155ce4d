"""Asks a running server for answers over HTTP, in OpenAI's protocol: requests, streams, and the same as commands."""
