"""The form of a tenant id: a DNS label. Knows no tenant."""

import re

TENANT_ID = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
