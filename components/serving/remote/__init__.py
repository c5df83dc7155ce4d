"""Engines that run in other processes: vLLM servers with PrefixFleet's plugin, asked over HTTP.

The server keeps tenants, keys, quotas, aliases and traffic splits; it encodes texts, checks artifacts and cuts answers
at stop strings as it does with its own engine. A remote engine gets token ids and the name of an artifact.
"""
