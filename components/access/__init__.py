"""Who may use a server of PrefixFleet: API keys, TLS files, and addresses of this machine."""
