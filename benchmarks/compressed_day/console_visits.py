"""Somebody who looks at the console all day: logs in, and opens the fleet, a tenant and the nights again and again."""

import random
import re
import time
from collections.abc import Sequence

import httpx

from compressed_day.watch import Watch

_PAUSE_S = 5.0
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


class ConsoleVisits(Watch):
    """The visits and their answers."""

    def __init__(self, url: str, key: str, tenants: Sequence[str]) -> None:
        """Log in."""
        super().__init__(self._open_pages, _PAUSE_S)
        self._url, self._tenants = f"{url}/console", tenants
        self.answers: list[tuple[float, str, int]] = []
        """Time, path and status of every page; status 0: no answer, 401: logged out."""
        self._browser = httpx.Client(timeout=120, follow_redirects=True)
        form = dict(_HIDDEN.findall(self._browser.get(f"{self._url}/login").text))
        self._browser.post(f"{self._url}/login", data={**form, "key": key})

    def _open_pages(self) -> None:
        for path in ("/", f"/tenants/{random.choice(self._tenants)}", "/nights"):
            started_s, status = time.monotonic(), 0
            try:
                answer = self._browser.get(f"{self._url}{path}")
                status = 401 if "/login" in str(answer.url) else answer.status_code
            except httpx.HTTPError:
                pass
            self.answers.append((started_s, path, status))
