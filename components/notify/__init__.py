"""Tells people (by Apprise) and programs (by signed webhooks) what the fleet did."""
