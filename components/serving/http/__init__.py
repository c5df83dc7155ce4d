"""The HTTP side of serving: routes, authentication, quotas, OpenAI's protocol."""
