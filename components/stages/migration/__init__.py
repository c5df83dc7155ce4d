"""Moves the fleet from one base to the next, tenant by tenant, in waves."""
